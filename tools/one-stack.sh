#!/usr/bin/env bash
# Each program speaks TLS through one rustls over aws-lc, and HTTP through one hyper. Asked of each program alone, for
# the features that cargo unites over a whole workspace are in none of them.
set -euo pipefail
cd "$(dirname "$0")/.."

passed=0 failed=0
for package in fhir-export check-export-status transfer-to-s3 pathling-import check-import-status pathling-import-cli; do
  for target in aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu; do
    crates=$(cargo tree --locked --package "$package" --target "$target" --edges normal --prefix none --format '{p}' |
      cut -d' ' -f1,2 | sort -u)
    wrong=""
    for crate in rustls aws-lc-rs hyper; do
      count=$(grep -c "^$crate " <<<"$crates" || true)
      [ "$count" = 1 ] || wrong+=" $count versions of $crate,"
    done
    for crate in ring openssl openssl-sys native-tls; do
      if grep -q "^$crate " <<<"$crates"; then wrong+=" $crate,"; fi
    done
    if [ -z "$wrong" ]; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      echo "$package for $target has${wrong%,}"
    fi
  done
done
echo "one TLS stack, one hyper: $passed passed, $failed failed"
[ "$failed" = 0 ]
