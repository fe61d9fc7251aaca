// Package guests tests the computer with real Linux guests: the stock Debian
// kernel, with a script and programs of the test's own in the initial RAM disk.
//
// The tests run only if LOCKSTEP_GUESTS is set, and want the images "small",
// "stress" and "node", which "lockstep image build NAME" makes. Its value multiplies the
// length of what has no end of its own; 1 is what runs before a change lands.
// With -short a test takes a tenth of that. LOCKSTEP_GUESTS_SEED starts the
// random choices of the host from another number.
//
// guest_test.go has the guest, host_test.go the host around it, replay_test.go
// the log of a run and its replays, engines_test.go the engines to replay on,
// scenarios_test.go the guests whose runs are recorded and replayed.
package guests
