"""Print what each test report ran and skipped; fail where a report is missing or ran nothing."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

EXPECTED = {"tests", "slow", "counterparts"}


def main(paths: list[str]) -> int:
    """0 when every expected report is there and ran at least one test without a failure."""
    found: set[str] = set()
    passed_in_all = failed_in_all = skipped_in_all = 0
    is_bad = False
    for path in map(Path, paths):
        if not path.exists():
            continue
        cases = ET.parse(path).getroot().findall(".//testcase")  # our own pytest wrote it
        skipped = [(case, mark) for case in cases if (mark := case.find("skipped")) is not None]
        failed = sum(
            case.find("failure") is not None or case.find("error") is not None for case in cases
        )
        passed = len(cases) - len(skipped) - failed
        found.add(path.stem)
        passed_in_all, failed_in_all = passed_in_all + passed, failed_in_all + failed
        skipped_in_all += len(skipped)
        print(f"{path.stem}: {passed} passed, {failed} failed, {len(skipped)} skipped")
        for case, mark in skipped:
            print(f"  skipped {case.get('classname')}.{case.get('name')}: {mark.get('message')}")
        if passed == 0 or failed:
            is_bad = True
    for name in sorted(EXPECTED - found):
        print(f"{name}: no report")
        is_bad = True
    print(f"{passed_in_all} passed, {failed_in_all} failed, {skipped_in_all} skipped")
    return 1 if is_bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
