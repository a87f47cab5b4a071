"""What tests share: locks, clocks, threads, scripts, and the private parts of the package that they
need."""
import os

#: Seconds that anything is waited for at most; no wait ends by time in a run that passes.
PATIENCE = 20

#: The same for a program that a test starts.
PROGRAM_PATIENCE = 50

#: The folder of the checkout.
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
