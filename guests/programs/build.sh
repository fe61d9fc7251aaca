#!/bin/sh -e
# Builds the program for the guest: exercise.riscv64, and built.txt, which says
# from what and with what. Needs gcc for riscv64 (Debian: gcc-riscv64-linux-gnu);
# another one is named by CC. OUT is the directory for both, else this one.
cd "$(dirname "$0")"
CC=${CC:-riscv64-linux-gnu-gcc}
OUT=${OUT:-.}
$CC -O2 -march=rv64gc -mabi=lp64d -static -nostdlib -ffreestanding \
	-fno-stack-protector -fno-pic -fno-tree-loop-distribute-patterns -Wall -Wextra -Werror \
	-Wl,--build-id=none -Wl,--no-warn-rwx-segments -s -o "$OUT/exercise.riscv64" exercise.c
{
	echo "compiler $($CC -dumpfullversion) $($CC --version | head -n 1)"
	echo "linker $($CC -Wl,--version 2>/dev/null | head -n 1)"
	echo "sources $(cat exercise.c build.sh | sha256sum | cut -d ' ' -f 1)"
	echo "program $(sha256sum <"$OUT/exercise.riscv64" | cut -d ' ' -f 1)"
} >"$OUT/built.txt"
