// Package guests tests the computer with real Linux guests: the stock Debian
// kernel, with a script and programs of the test's own in the initial RAM disk.
//
// The tests run only if LOCKSTEP_GUESTS is set, and want the images "small",
// "stress" and "node", which "lockstep image build NAME" makes. Its value multiplies the
// length of what has no end of its own; 1 is what runs before a change lands.
// With -short a test takes a tenth of that. LOCKSTEP_GUESTS_SEED starts the
// random choices of the host from another number.
//
// Failovers kill a replica of a pair of processes at a random moment, and the
// survivor too in some rounds; LOCKSTEP_FAILOVERS is how many rounds each of
// those tests makes. They want the images "demo" and "bench", and e2fsprogs and
// sqlite3 on the host. replica_test.go has the processes, failover_test.go a
// round, exercise_test.go and sqlite_test.go what the guest does meanwhile and
// what its disks must hold then.
//
// guest_test.go has the guest, host_test.go the host around it, replay_test.go
// the log of a run and its replays, engines_test.go the engines to replay on,
// scenarios_test.go the guests whose runs are recorded and replayed.
package guests
