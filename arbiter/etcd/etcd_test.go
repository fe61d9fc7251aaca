package etcd

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/lockstep-vm/lockstep/arbiter"
	"github.com/lockstep-vm/lockstep/arbiter/arbitertest"
	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/internal/porttest"
)

// TestMain is also the driver: a test that needs one as a process starts this
// program again.
func TestMain(m *testing.M) {
	if args := os.Getenv("LOCKSTEP_TEST_DRIVER"); args != "" {
		os.Exit(Main(context.Background(), Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}, strings.Fields(args)))
	}
	code := m.Run()
	if shared.member != nil {
		shared.member.Close()
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// shared is the etcd of the tests that do not stop it; each has its own prefix.
var shared struct {
	once   sync.Once
	dir    string
	member *Member
	err    error
	places atomic.Int64
}

func etcdURL(t *testing.T) string {
	t.Helper()
	shared.once.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "lockstep-etcd-"); shared.err == nil {
			shared.member, shared.err = StartMember(context.Background(), MemberConfig{Dir: shared.dir, Listen: "http://127.0.0.1:0"})
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.member.URL()
}

func newPrefix() string { return fmt.Sprintf("/place-%d/", shared.places.Add(1)) }

func openStore(t *testing.T, url, prefix string) *Store {
	t.Helper()
	s, err := Open(Config{Endpoints: []string{url}, Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// driver names a driver that is a process of its own, as a spec does.
func driver(t *testing.T, args string) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("exec:env LOCKSTEP_TEST_DRIVER='%s' '%s'", args, program)
}

func openArbiter(t *testing.T, name string) arbiter.Arbiter {
	t.Helper()
	a, err := arbiter.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestEtcdIsAnArbiter(t *testing.T) {
	url := etcdURL(t)
	arbitertest.Run(t, func(t *testing.T) func() arbiter.Arbiter {
		prefix := newPrefix()
		return func() arbiter.Arbiter { return arbiter.Over(openStore(t, url, prefix)) }
	})
}

func TestDriversOfEtcdAreAnArbiter(t *testing.T) {
	url := etcdURL(t)
	arbitertest.Run(t, func(t *testing.T) func() arbiter.Arbiter {
		args := "--endpoints " + url + " --prefix " + newPrefix()
		return func() arbiter.Arbiter { return openArbiter(t, driver(t, args)) }
	})
}

// DESIGN R16: "a cell is never deleted, leased or rolled back".
func TestCellsAreKeysForEver(t *testing.T) {
	url, prefix := etcdURL(t), newPrefix()
	s := openStore(t, url, prefix)
	a := arbiter.Over(s)
	run, err := a.BeginRun(arbiter.PowerOn{VM: "web", By: arbitertest.Process(1)})
	if err != nil {
		t.Fatal(err)
	}
	cell := ft.Cell{VM: "web", Run: run, Epoch: 1}
	for i := range 5 {
		if _, err := a.Claim(ft.Claim{Cell: cell, By: arbitertest.Process(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.EndRun("web", run); err != nil {
		t.Fatal(err)
	}
	r, err := s.client.Get(t.Context(), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) != 3 {
		t.Errorf("%d keys; want a power-on, its end and a claim", len(r.Kvs))
	}
	for _, kv := range r.Kvs {
		if kv.Version != 1 || kv.Lease != 0 {
			t.Errorf("%s: version %d, lease %d; want a key that was put once, without a lease", kv.Key, kv.Version, kv.Lease)
		}
	}
}

func TestKeyOfSomethingElseIsNoClaim(t *testing.T) {
	s := openStore(t, etcdURL(t), newPrefix())
	lease, err := s.client.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: 1}
	key := s.key("web", fmt.Sprintf("claim-1-%x-1", cell.Run.ID))
	if _, err := s.client.Put(t.Context(), key, "lockstep", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	if owner, err := arbiter.Over(s).Claim(ft.Claim{Cell: cell, By: arbitertest.Process(1)}); err == nil || !strings.Contains(err.Error(), "has a lease") {
		t.Errorf("a key with a lease: owner %v, %v", owner, err)
	}
}

// A claim answered before etcd stops is the answer after it started again; a
// claim that is made while etcd is away fails, and is answered when it is back.
func TestEtcdGoesAndComesBack(t *testing.T) {
	dir, prefix := t.TempDir(), newPrefix()
	m, err := StartMember(t.Context(), MemberConfig{Dir: dir, Listen: "http://" + porttest.Address()})
	if err != nil {
		t.Fatal(err)
	}
	url := m.URL()
	store := openStore(t, url, prefix)
	store.patience = 0 // one try a call
	a := arbiter.Over(store)
	cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: 1}
	if owner, err := a.Claim(ft.Claim{Cell: cell, By: arbitertest.Process(1)}); err != nil || owner != arbitertest.Process(1) {
		t.Fatalf("owner %v, %v", owner, err)
	}
	m.Close()
	if err := a.Ping(); err == nil || !strings.Contains(err.Error(), url) {
		t.Errorf("ping while etcd is away: %v; want an error that says where", err)
	}
	if m, err = StartMember(t.Context(), MemberConfig{Dir: dir, Listen: url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	for epoch, want := range []int{2, 1, 2} { // epoch 1 is the one of before
		cell.Epoch = ft.Epoch(epoch)
		owner, err := ask(a, cell, arbitertest.Process(2))
		if err != nil || owner != arbitertest.Process(want) {
			t.Errorf("epoch %d after etcd came back: owner %v, %v; want process %d", epoch, owner, err, want)
		}
	}
}

// ask claims as a replica does: on, until there is an answer.
func ask(a arbiter.Arbiter, cell ft.Cell, who ft.ProcessID) (owner ft.ProcessID, err error) {
	for range 20 {
		if owner, err = a.Claim(ft.Claim{Cell: cell, By: who}); err == nil {
			break
		}
	}
	return owner, err
}

// DESIGN R16: "Asking again is part of the claim and gives the same answer; a
// lost answer costs nothing".
func TestLostAnswerCostsNothing(t *testing.T) {
	url, prefix := etcdURL(t), newPrefix()
	proxy := newDeafProxy(t, strings.TrimPrefix(url, "http://"))
	through := arbiter.Over(openStore(t, "http://"+proxy.addr, prefix))
	direct := openStore(t, url, prefix)
	for epoch := ft.Epoch(1); epoch <= 5; epoch++ {
		cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: epoch}
		name := fmt.Sprintf("claim-1-%x-%d", cell.Run.ID, epoch)
		if err := through.Ping(); err != nil { // there is a connection to be cut
			t.Fatal(err)
		}
		// The next answer is lost with its connection, after etcd has the key.
		proxy.loseNext(func() {
			for {
				if _, err := direct.Read("web", name); err == nil || t.Context().Err() != nil {
					return
				}
			}
		})
		owner, err := through.Claim(ft.Claim{Cell: cell, By: arbitertest.Process(1)})
		if err != nil || owner != arbitertest.Process(1) {
			t.Fatalf("epoch %d: owner %v, %v; its own claim is the one that came first", epoch, owner, err)
		}
		if other, err := arbiter.Over(direct).Claim(ft.Claim{Cell: cell, By: arbitertest.Process(2)}); err != nil || other != owner {
			t.Fatalf("epoch %d: the other side was told %v, %v", epoch, other, err)
		}
	}
	if lost := proxy.lost.Load(); lost != 5 {
		t.Errorf("%d answers were lost; want one for each claim", lost)
	}
}

// deafProxy passes everything to etcd, and at times loses what comes back.
type deafProxy struct {
	addr string
	lost atomic.Int64
	mu   sync.Mutex
	done func() // not nil: lose the next answer, and cut when done returns
}

func newDeafProxy(t *testing.T, to string) *deafProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &deafProxy{addr: l.Addr().String()}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go p.pass(from, to)
		}
	}()
	return p
}

func (p *deafProxy) loseNext(done func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
}

func (p *deafProxy) pass(from net.Conn, to string) {
	defer func() { _ = from.Close() }()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	go func() {
		_, _ = io.Copy(server, from)
		_ = server.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		done := p.done
		p.done = nil
		p.mu.Unlock()
		if done != nil {
			done()
			p.lost.Add(1)
			return
		}
		if _, err := from.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A driver that dies in the middle of claims is started again, and every claim
// is answered, once and for ever.
func TestDriverKilledInMidClaim(t *testing.T) {
	url, prefix := etcdURL(t), newPrefix()
	pids := filepath.Join(t.TempDir(), "pids")
	if err := os.Mkdir(pids, 0o755); err != nil {
		t.Fatal(err)
	}
	// The driver's process id is that of the shell that becomes it.
	name := driver(t, "--endpoints "+url+" --prefix "+prefix)
	name = fmt.Sprintf(`exec:sh -c 'touch %s/$$; exec "$@"' - %s`, pids, strings.TrimPrefix(name, "exec:"))
	hosts := [2]arbiter.Arbiter{openArbiter(t, name), openArbiter(t, driver(t, "--endpoints "+url+" --prefix "+prefix))}
	kills := 0
	for epoch := ft.Epoch(1); epoch <= 10; epoch++ {
		cell := ft.Cell{VM: "web", Run: ft.Run{Ordinal: 1}, Epoch: epoch}
		var owners [2]ft.ProcessID
		var errs [2]error
		var wg sync.WaitGroup
		for i := range hosts {
			wg.Go(func() { owners[i], errs[i] = ask(hosts[i], cell, arbitertest.Process(i)) })
		}
		kills += killAll(t, pids)
		wg.Wait()
		if errs[0] != nil || errs[1] != nil || owners[0] != owners[1] {
			t.Fatalf("epoch %d: %v and %v, %v and %v", epoch, owners[0], owners[1], errs[0], errs[1])
		}
	}
	if kills < 5 {
		t.Errorf("the driver was killed %d times", kills)
	}
}

// killAll kills the processes whose ids are the names of files in dir.
func killAll(t *testing.T, dir string) (killed int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, e.Name()))
		if p, err := os.FindProcess(pid); err == nil && p.Kill() == nil {
			killed++
		}
	}
	return killed
}
