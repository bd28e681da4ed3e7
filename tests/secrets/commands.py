"""Several of amiweb's management commands in one process, one after the other, whatever becomes of each.

python -m tests.secrets.commands '[["status"], ["check"]]'
"""

from __future__ import annotations

import json
import sys
import traceback

from django.core.management import execute_from_command_line


def main() -> None:
    for words in json.loads(sys.argv[1]):
        print("$ manage.py", *words, flush=True)
        try:
            execute_from_command_line(["manage.py", *words])
        except SystemExit as ended:
            print("ended with", ended.code, flush=True)
        except Exception:
            traceback.print_exc()


if __name__ == "__main__":
    main()
