// Package conformance compares machine/hart with QEMU on random programs.
//
// A batch is the RAM image of a bare machine: a small loader, and slots that
// each hold one random program with its registers, memory window, page tables
// and room for its final state. The same image runs on our hart and on
// qemu-system-riscv64, whose RAM is a file; then the two images are compared.
// Everything that a program did is in its slot: registers, fcsr, CSRs, the log
// of its traps, the window, and the accessed and dirty bits of its page tables.
// Results that the next instruction would overwrite are folded into S8.
//
// A program is a function of its kind, its seed and what the QEMU lacks. When
// one differs, it is shrunk: the shortest prefix that differs, then items and
// initial values are dropped as long as it goes on to differ. What is left is
// printed with its encodings, and with the command line that runs it again.
//
// LOCKSTEP_CONFORMANCE=N runs N batches of each kind, each as large as may be,
// and then at least ten million random instructions must have been compared:
// those of programs, not of the loader or the trap handlers.
// LOCKSTEP_CONFORMANCE_SEED=S starts from another seed, and LOCKSTEP_QEMU names
// another qemu-system-riscv64 than the one of the PATH. Kinds that need an
// extension which that QEMU lacks are named in the log of the run.
//
// # Differences
//
// They are kept out of the programs or out of the comparison. The specification
// leaves open:
//
//   - xtval of an illegal instruction may be zero or the instruction, that of a
//     breakpoint zero or the PC; of an access over a page border, the address of
//     the access or of the part that faults, as of a misaligned access to what
//     is not RAM. The log keeps what is common.
//   - Whether a store between LR and SC, or a trap, breaks the reservation:
//     programs pair LR and SC tightly, or far apart to another address.
//   - Whether an SC that fails looks at the permission to write (QEMU does not
//     trap), and what an SC to a misaligned address does (we trap, QEMU reports
//     failure).
//   - Of an AMO without both memory and permission QEMU reports the one, we the
//     other. Where memory is protected both are delegated, or neither.
//   - A and D bits of the first page of an access whose second page faults, and
//     A of a page that an AMO may read but not write: we set none (an access
//     that fails changes nothing).
//   - Code that is stored and not fenced: both machines are coherent, QEMU from
//     the end of its translated block on, so that a jump stands in between.
//   - The granularity of memory protection: ours is a page, QEMU's four bytes;
//     regions are of pages, and addresses are written as they then read. A data
//     access over the border of a region fails as a whole in QEMU and is two
//     accesses in ours: programs with regions make none. QEMU does not check
//     whether the update of A and D may write: there they are set already.
//   - mstatus.TW and the waits of Zawrs: one that ends at once need not trap, ours
//     does not. Whether a wait ends the reservation (it does in QEMU): the SC
//     behind it changes nothing either way.
//   - WLRL and WARL fields: xcause, xtvec's mode, satp's mode, MPP, CBIE, pmpcfg
//     and pmpaddr get legal values; UXL and SXL get none. FS becomes dirty at
//     other times in QEMU.
//   - misa's other extensions, values of counters and of the identity registers,
//     and WFI where it would wait. Event counters (mhpm*) and the entries of
//     memory protection beyond 16 exist in one machine only.
//
// QEMU differs from the specification, as far as the programs found:
//
//   - Of several interrupts that are pending at once its order is another: a
//     program uses one (privileged spec 3.1.9).
//   - xtval of CBO instructions that fault is the address of the block, not
//     that in rs1: the log keeps the block's.
//   - SFENCE.W.INVAL and SFENCE.INVAL.IR do not trap in user mode: programs in
//     user mode have none.
//   - A WFI that traps at the end of a page has the epc of the same place in the
//     next page (QEMU 10): programs have none there.
//   - QEMU 7 alone: AMOs that fault have the causes of loads; sepc keeps bit 0;
//     xtval of accesses through MPRV is aligned; CTZW of a zero word is wrong;
//     CSRRS and CSRRC of a read-only register do not trap when rs1 is another
//     register than x0 that holds zero; supervisor mode executes a page of user
//     mode that it has loaded from with SUM set; a TOR entry of memory
//     protection does not follow a change of the address it begins with; vstimecmp exists
//     without the hypervisor extension.
package conformance
