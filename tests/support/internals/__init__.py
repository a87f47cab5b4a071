"""What tests need of the private parts of the package, one module for each part of it.

No other test reads or sets a private name of the package: ``tests/test_architecture.py`` checks it.
A function reads a member, or does one thing with it. A name in capitals is a member that tests
replace.
"""
from .supervisor import (check_accounts, check_oracle, inject, manager, parts, pool_thread, pools,
                         settle, warm)

__all__ = ["check_accounts", "check_oracle", "inject", "manager", "parts", "pool_thread", "pools",
           "settle", "warm"]
