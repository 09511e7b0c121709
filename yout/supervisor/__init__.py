"""Behind `yout up`: start the processes of the Procfile and what they need, see that they are ready, stop them in order."""
