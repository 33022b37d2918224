#!/bin/sh
# What readers are sent to is there: every Rust file begins with a line that says what it is, and every file and function
# that ARCHITECTURE.md and CONTRIBUTING.md name in backticks exists, in the file that the page says; and what R code reads of the
# session's state, or of a pool, is made by their constructors. Prints what is wrong, and fails then.
#
# A file is named by its path, or by the end of it that no other has, which begins at a folder if it is of Rust; a function as `name()` or
# `Type::name()`, in a file then that has something of that type.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/mirai-names.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# Of R, packages and the system.
FOREIGN="fork graphics gctorture2 library mclapply malloc_trim popen posix_spawn select socketSelect system test_file waitpid"

git ls-files --cached --others --exclude-standard >"$work/files"
: >"$work/wrong"

git ls-files '*.rs' | while read -r file; do
  head -n 1 "$file" | grep -q '^//! ' || echo "$file does not begin with a \`//! \` line"
done >>"$work/wrong"

# Functions and entries that are defined here.
{
  git grep -hoE 'fn [a-z_0-9]+' -- 'rust/*.rs' 'benches/*.rs' | sed 's/^fn //'
  git grep -hoE '^[[:space:]]*[A-Za-z_.0-9]+ (<-|=) function' -- 'R/*.R' 'tools/*.R' 'tests/*.R' | sed -E 's/^ *//; s/ .*//'
  printf '%s\n' $FOREIGN
} | sort -u >"$work/functions"

for page in ARCHITECTURE.md CONTRIBUTING.md; do
  # Code blocks are for a shell, or drawings.
  awk '/^ *```/ { code = !code; next } !code' "$page" | grep -oE '`[^`]+`' | tr -d '`' | sort -u >"$work/named"
  grep -E '^[A-Za-z0-9_./-]+\.(rs|R|c|sh|md)$' "$work/named" | while read -r file; do
    case $(grep -cE "(^|/)$(echo "$file" | sed 's/\./\\./g')\$" "$work/files") in
      0) echo "$page: no file \`$file\`" ;;
      1) ;;
      *) grep -qxF "$file" "$work/files" || echo "$page: several files are \`$file\`" ;;
    esac
    case $file in
      */* | *.[!r]*) ;;
      *) echo "$page: \`$file\` lacks its folder" ;;
    esac
  done >>"$work/wrong"
  sed -nE 's/^(.*[^A-Za-z0-9_.])?([A-Za-z0-9_.]+)\([^()]*\)$/\2/p' "$work/named" | sort -u | while read -r name; do
    grep -qxF "$name" "$work/functions" || echo "$page: no function \`$name()\`"
  done >>"$work/wrong"
  # `Type::name()`: a file that declares the type, implements it or is its module defines the function.
  sed -nE 's/^(.*[^A-Za-z0-9_:])?([A-Z][A-Za-z0-9_]*)::([a-z0-9_]+)\([^()]*\)$/\2 \3/p' "$work/named" | sort -u | while read -r type name; do
    git grep -lE "fn $name\b" -- 'rust/*.rs' | xargs -r grep -lE "\b(struct|enum|trait|type) $type\b|\bimpl\b.*\b$type\b|^//! .*\b$type\b" |
      grep -q . || echo "$page: \`$type\` has no \`$name()\`"
  done >>"$work/wrong"
  # "`name()` in `file`", across the ends of lines.
  tr '\n' ' ' <"$page" | tr -s ' ' | grep -oE '`[A-Za-z0-9_.:]+\(\)`,? in `[A-Za-z0-9_./-]+\.(rs|R)`' | sort -u |
    sed -E 's/`([A-Za-z0-9_.]*::?:?)*([A-Za-z0-9_.]+)\(\)`,? in `(.*)`/\2 \3/' | while read -r name file; do
    in=$(grep -E "(^|/)$(echo "$file" | sed 's/\./\\./g')\$" "$work/files" | head -n 1)
    test -n "$in" && grep -qE "fn $name\b|^[[:space:]]*$name (<-|=) function" "$in" || echo "$page: no function \`$name()\` in \`$file\`"
  done >>"$work/wrong"
done

# Each part of the session's and of a pool's state is made, with all others, where it says what it is for.
made_by() { git grep -hoE '^ +[a-z_]+ = ' -- "$@" | tr -d ' =' | sort -u; }
parts() { git grep -hoE "(^|[^A-Za-z_.])$1[$][a-z_]+" -- 'R/*.R' | sed 's/.*[$]//' | sort -u; }
made_by R/session.R >"$work/session"
made_by R/profiles.R R/cluster.R >"$work/pool"
for state in session pool; do
  parts "$state" | comm -23 - "$work/$state" | sed "s/.*/R: no constructor makes \`$state\$&\`/"
done >>"$work/wrong"

if test -s "$work/wrong"; then
  cat "$work/wrong" >&2
  exit 1
fi
echo "$(git ls-files '*.rs' | wc -l) Rust files, $(wc -l <"$work/functions") functions: all that is named is there"
