"""The supervisor behind `yout up`: starts the Procfile's processes and their servers, waits until ready, stops them in order."""
