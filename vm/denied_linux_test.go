package vm

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deniedEnv makes this test binary a process to which the system denies
// executable memory.
const deniedEnv = "LOCKSTEP_TEST_DENIED"

// denyExecutable makes memfd_create fail for good, in every thread.
func denyExecutable(t *testing.T) {
	t.Helper()
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_MEMFD_CREATE, Jf: 1},
		{Code: unix.BPF_RET, K: 0x0005_0000 | uint32(unix.EACCES)}, // SECCOMP_RET_ERRNO
		{Code: unix.BPF_RET, K: 0x7fff_0000},                       // SECCOMP_RET_ALLOW
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	const setFilter, allThreads = 1, 1
	f := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, setFilter, allThreads, uintptr(unsafe.Pointer(&f))); e != 0 {
		t.Skip(e)
	}
}

// A host that denies executable memory runs the guest on the interpreter: the
// primary and the backup each say so once, and why.
func TestReplicasWithoutExecutableMemory(t *testing.T) {
	if os.Getenv(deniedEnv) == "" {
		inDeniedProcess(t)
		return
	}
	denyExecutable(t)
	primary, backup := mixedPair(t, EngineAuto, EngineAuto)
	backup.until(t, "digests", func() bool { return backup.Status().Digests.Compared >= 5 })
	primary.cancel()
	primary.wait(t, Ended)
	backup.wait(t, Ended)
	for who, r := range map[string]*running{"primary": primary, "backup": backup} {
		s := r.Status()
		if s.Engine != EngineInterp || s.Digests.Different != 0 {
			t.Errorf("the %s's engine is %q; %d digests differ", who, s.Engine, s.Digests.Different)
		}
		var told []string
		for _, e := range r.log.list {
			if e.Kind == EventNote && strings.Contains(e.Text, "interpreter") {
				told = append(told, e.Text)
			}
		}
		if len(told) != 1 || !strings.Contains(told[0], "jit: no") {
			t.Errorf("the %s told of its engine %q", who, told)
		}
	}
	// Who asks for translated code by its name does not get less.
	if _, err := PowerOn(Config{Name: "bare", Machine: bareMetal(), Engine: EngineJIT}); err == nil || !strings.Contains(err.Error(), "--engine "+EngineInterp) {
		t.Errorf("powered on with %s: %v", EngineJIT, err)
	}
}

// inDeniedProcess runs the test in a process of its own, which denies itself
// executable memory.
func inDeniedProcess(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), deniedEnv+"=1")
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v:\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("it did not run:\n%s", out)
	}
}
