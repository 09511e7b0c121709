"""Pages for people, and the files that they load. They render and redirect; what they change is in `shared`."""
