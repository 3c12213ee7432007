#!/usr/bin/env bash
# Installs Chromium, a Chinese font and pdftotext for the browser tests, where the system's packages can be installed without asking.
# Where they cannot, it says so and ends well: the tests are then skipped with the reason (in CI a skip is a failure).
set -euo pipefail

has() { command -v "$1" >/dev/null; }
has_browser() { has chromium || has chromium-browser || has google-chrome; }
has_font() { has fc-list && [ -n "$(fc-list :lang=zh)" ]; }

if has_browser && has_font && has pdftotext; then exit 0; fi
become=()
if [ "$(id -u)" -ne 0 ]; then become=(sudo --non-interactive); fi
if ! has apt-get || ! "${become[@]}" true 2>/dev/null; then
  echo "note: Chromium, a Chinese font or pdftotext is missing, and cannot be installed without asking: browser tests" >&2
  echo "      will be skipped. Debian: apt install chromium fonts-noto-cjk fontconfig poppler-utils" >&2
  exit 0
fi
"${become[@]}" apt-get update --quiet=2
"${become[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
  chromium fonts-noto-cjk fontconfig poppler-utils >/dev/null
