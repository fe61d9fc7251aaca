// Package conformance compares machine/hart with QEMU on random programs.
//
// A batch is the RAM image of a bare machine: a small loader, and slots that
// each hold one random program with its registers, memory window, page tables
// and room for its final state. The same image runs on our hart and on
// qemu-system-riscv64, whose RAM is a file; then the two images are compared.
// Everything that a program did is in its slot: registers, fcsr, CSRs, the log
// of its traps, the window, and the accessed and dirty bits of its page tables.
//
// A program is a function of its seed. When one differs, its prefixes are run
// as a batch of their own, and the shortest that differs names the
// instruction at fault.
//
// LOCKSTEP_CONFORMANCE=N runs N batches of each kind instead of one;
// LOCKSTEP_CONFORMANCE_SEED=S starts from another seed.
//
// # Differences that the specification allows
//
// They are kept out of the programs or out of the comparison:
//
//   - xtval of an illegal instruction may be zero or the instruction, that of a
//     breakpoint zero or the PC; of an access over a page border, the address of
//     the access or of the part that faults, as of a misaligned access to what
//     is not RAM. The log keeps what is common.
//   - Whether a store between LR and SC, or a trap, breaks the reservation:
//     programs pair LR and SC tightly, or far apart to another address.
//   - Of several interrupts that are pending at once QEMU's order is not that
//     of the specification: a program uses one.
//   - Of an AMO without both memory and permission QEMU reports the one, we the
//     other. QEMU 7 gives the causes of loads for AMOs that fault, and keeps bit 0 of
//     sepc; it aligns xtval of accesses through MPRV; its CTZW of a zero word
//     is wrong, so that no program has one.
//   - SC to a misaligned address: we trap, QEMU reports failure.
//   - A and D bits of the first page of an access whose second page faults, and
//     A of a page that an AMO may read but not write: we set none (an access
//     that fails changes nothing).
//   - An SC that fails on a page that is not writable: QEMU does not trap.
//   - PMP: we have none; the loader opens QEMU's.
//   - misa, counters, time, the identity registers, WFI, and WARL fields of
//     registers beyond what sstatus shows.
package conformance
