#!/usr/bin/env bash
# Sees that chromium and chromedriver are there, which look at the page of a run in the tests. They are too large for this folder, and
# come from the system: from Debian's packages, where this user may install some.
set -euo pipefail

is_there() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }

is_there && exit 0
packages=(chromium chromium-driver)
install=(apt-get install --yes --no-install-recommends "${packages[@]}")
if command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  if [ "$(id -u)" = 0 ]; then
    apt-get update && "${install[@]}" || true
  elif sudo --non-interactive true 2>/dev/null; then
    sudo apt-get update && sudo --preserve-env=DEBIAN_FRONTEND "${install[@]}" || true
  fi
fi
is_there && exit 0
echo "chromium and chromedriver are not on the PATH, and the tests look at the page of a run in them." >&2
echo "Install them (Debian: apt-get install ${packages[*]}), and run this again." >&2
exit 2
