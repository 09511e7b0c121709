"""Proofs of money and privacy on the deployed stack: `yout prove-cap` and `yout privacy-check`.

scripted_upstream.py  a provider on loopback that does what the prompt says, and records every request and what it sent
answers.py            its responses in every dialect, and how they break
surfaces.py           one call over any endpoint, and what its caller saw
load.py               many calls in parallel, with disconnects, against several edges
processes.py          edges and workers that the command starts, kills and stops
accounting.py         the record against the ledger: overdraft, lost and doubled credits
prove_cap.py          the whole cap proof
canary.py             unguessable strings, and their encoded forms
places.py             searches the database, Redis, files and the record
privacy_check.py      the whole privacy check
reports.py            signed reports, and where the last ones are stored
"""
