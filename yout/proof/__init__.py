"""Proofs of money and privacy on the deployed stack: `yout prove-cap` and `yout privacy-check`.

scripted_upstream.py  a provider on loopback that does what the prompt says, and records every request and what it sent
answers.py            its answers for prove-cap: complete, truncated and failing
dialect_answers.py    its answers for privacy-check, in every dialect
surfaces.py           one call to any endpoint, and what its caller received
load.py               many calls in parallel, with disconnects, against several edges
processes.py          edges and workers that the command starts, kills and stops
account_state.py      the balance while calls run, and the ledger afterwards
accounting.py         compares the record with the ledger: overdraft, lost and doubled credits
prove_cap.py          the whole cap proof
canary.py             unguessable strings, and their encoded forms
canary_requests.py    requests with a canary in every field
places.py             searches the database, Redis, files and the record
privacy_check.py      the whole privacy check
reports.py            signed reports, and where the last ones are stored
"""
