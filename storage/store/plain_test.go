package store

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/lockstep-vm/lockstep/storage/nbd"
)

// raw is a client that says word for word what a test wants.
type raw struct {
	t   testing.TB
	raw net.Conn
}

func dialRaw(t testing.TB, a nbd.Address) *raw {
	t.Helper()
	c, err := net.Dial(a.Net, a.Path)
	if err != nil {
		t.Fatal(err)
	}
	return &raw{t, c}
}

// greeted has the greeting behind it.
func greeted(t testing.TB, a nbd.Address) *raw {
	t.Helper()
	p := dialRaw(t, a)
	p.read(18)
	p.raw.Write([]byte{0, 0, 0, byte(nbd.FixedNewstyle | nbd.NoZeroes)})
	return p
}

// plainClient is in transmission, without a fence number.
func plainClient(t testing.TB, a nbd.Address) *raw {
	t.Helper()
	p := greeted(t, a)
	p.option(nbd.OptGo, nbd.Select{Export: a.Export}.Append(nil))
	if kind, text := p.optionEnd(); kind != nbd.RepAck {
		t.Fatalf("refused: %#x %s", kind, text)
	}
	return p
}

func (p *raw) close() { p.raw.Close() }

func (p *raw) read(n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(p.raw, b); err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *raw) option(kind uint32, data []byte) {
	p.raw.Write(append(nbd.Option{Type: kind, Length: uint32(len(data))}.Append(nil), data...))
}

// optionEnd reads replies up to the last of an option.
func (p *raw) optionEnd() (kind uint32, text string) {
	p.t.Helper()
	for {
		r, err := nbd.ParseOptionReply((*[nbd.OptionReplySize]byte)(p.read(nbd.OptionReplySize)))
		if err != nil {
			p.t.Fatal(err)
		}
		body := p.read(int(r.Length))
		if r.Type == nbd.RepAck || r.Type&nbd.RepError != 0 {
			return r.Type, string(body)
		}
	}
}

func (p *raw) send(r nbd.Request, data []byte) {
	p.raw.Write(append(r.Append(nil), data...))
}

// expect reads an answer and n bytes of data.
func (p *raw) expect(handle uint64, code uint32, n int) []byte {
	p.t.Helper()
	r, err := nbd.ParseReply((*[nbd.ReplySize]byte)(p.read(nbd.ReplySize)))
	if err != nil {
		p.t.Fatal(err)
	}
	if r.Handle != handle || r.Error != code {
		p.t.Fatalf("answer %d with error %d; want %d with %d", r.Handle, r.Error, handle, code)
	}
	return p.read(n)
}

// next reads whatever answer comes.
func (p *raw) next(n int) (uint64, []byte) {
	p.t.Helper()
	r, err := nbd.ParseReply((*[nbd.ReplySize]byte)(p.read(nbd.ReplySize)))
	if err != nil || r.Error != 0 {
		p.t.Fatal(r, err)
	}
	return r.Handle, p.read(n)
}

// gone reads until the server has hung up.
func (p *raw) gone() {
	p.t.Helper()
	_, _ = io.Copy(io.Discard, p.raw)
}

func TestNegotiation(t *testing.T) {
	a := address(t, serve(t, image(t, diskSize)))
	p := greeted(t, a)
	defer p.close()
	for _, c := range []struct {
		name string
		kind uint32
		data []byte
		want uint32
	}{
		{"structured replies", 8, nil, nbd.RepErrUnsup},
		{"TLS", 5, nil, nbd.RepErrUnsup},
		{"an unknown one", 0x7fffffff, make([]byte, 100), nbd.RepErrUnsup},
		{"list", nbd.OptList, nil, nbd.RepAck},
		{"list with data", nbd.OptList, []byte{1}, nbd.RepErrInvalid},
		{"info", nbd.OptInfo, nbd.Select{Export: "disk0", Wants: []uint16{nbd.InfoName, 77}}.Append(nil), nbd.RepAck},
		{"info of the only one", nbd.OptInfo, nbd.Select{}.Append(nil), nbd.RepAck},
		{"info of none", nbd.OptInfo, nbd.Select{Export: "x"}.Append(nil), nbd.RepErrUnknown},
		{"go to none", nbd.OptGo, nbd.Select{Export: "x"}.Append(nil), nbd.RepErrUnknown},
		{"broken info", nbd.OptInfo, []byte{0xff, 0xff, 0xff, 0xff}, nbd.RepErrInvalid},
		{"broken wants", nbd.OptGo, append(nbd.AppendString(nil, "disk0"), 0xff, 0xff), nbd.RepErrInvalid},
		{"broken fence", nbd.OptFence, []byte{0}, nbd.RepErrInvalid},
		{"fence of no VM", nbd.OptFence, nbd.Fence{Export: "disk0", VM: "../x"}.Append(nil), nbd.RepErrPolicy},
		{"fence of none", nbd.OptFence, nbd.Fence{Export: "x", VM: "web"}.Append(nil), nbd.RepErrUnknown},
		{"cells where none are kept", nbd.OptCells, nbd.CellCall{Op: nbd.CellPing}.Append(nil), nbd.RepErrPolicy},
		{"broken cells", nbd.OptCells, []byte{77}, nbd.RepErrInvalid},
		{"release of what nobody has", nbd.OptRelease, nbd.Release{Export: "disk0", VM: "web"}.Append(nil), nbd.RepErrPolicy},
		{"broken release", nbd.OptRelease, nil, nbd.RepErrInvalid},
	} {
		p.option(c.kind, c.data)
		if kind, text := p.optionEnd(); kind != c.want {
			t.Errorf("%s: answered %#x %q; want %#x", c.name, kind, text, c.want)
		}
	}
	p.option(nbd.OptAbort, nil)
	if kind, _ := p.optionEnd(); kind != nbd.RepAck {
		t.Errorf("abort: %#x", kind)
	}
	p.gone()

	long := greeted(t, a)
	defer long.close()
	long.raw.Write(nbd.Option{Type: nbd.OptGo, Length: 1 << 31}.Append(nil))
	if kind, _ := long.optionEnd(); kind != nbd.RepErrTooBig {
		t.Errorf("an option of 2 GiB: %#x", kind)
	}
	long.gone()
}

// NBD_OPT_EXPORT_NAME is how the oldest clients choose.
func TestExportName(t *testing.T) {
	a := address(t, serve(t, image(t, diskSize)))
	for _, padding := range []bool{false, true} {
		p := dialRaw(t, a)
		p.read(18)
		flags := nbd.FixedNewstyle | nbd.NoZeroes
		if padding {
			flags = nbd.FixedNewstyle
		}
		p.raw.Write(binary.BigEndian.AppendUint32(nil, uint32(flags)))
		p.option(nbd.OptExportName, []byte("disk0"))
		if size := binary.BigEndian.Uint64(p.read(10)); size != diskSize {
			t.Errorf("size %d", size)
		}
		if padding {
			p.read(124)
		}
		p.send(nbd.Request{Type: nbd.CmdRead, Handle: 5, Length: 512}, nil)
		p.expect(5, 0, 512)
		p.send(nbd.Request{Type: nbd.CmdDisc}, nil)
		p.gone()
		p.close()
	}
	p := greeted(t, a)
	defer p.close()
	p.option(nbd.OptExportName, []byte("other"))
	p.gone()
}

// A server meets any words of a client without a panic.
func FuzzClientWords(f *testing.F) {
	hello := []byte{0, 0, 0, 3}
	option := func(kind uint32, data []byte) []byte {
		return append(nbd.Option{Type: kind, Length: uint32(len(data))}.Append(nil), data...)
	}
	f.Add(append(append(hello, option(nbd.OptGo, nbd.Select{Export: "disk0"}.Append(nil))...), nbd.Request{Type: nbd.CmdRead, Length: 512}.Append(nil)...))
	f.Add(append(append(hello, option(nbd.OptFence, nbd.Fence{Export: "disk0", VM: "web", Number: number(1, 1)}.Append(nil))...),
		option(nbd.OptGo, nbd.Select{Export: "disk0"}.Append(nil))...))
	f.Add(append(append(hello, option(nbd.OptExportName, nil)...), nbd.Request{Type: nbd.CmdWriteZeroes, Length: 512, Flags: nbd.FlagNoHole}.Append(nil)...))
	s := serve(f, image(f, diskSize))
	f.Fuzz(func(t *testing.T, words []byte) {
		here, there := net.Pipe()
		c := newConn(s, there)
		done := make(chan struct{})
		go func() { c.run(); close(done) }()
		go func() { _, _ = io.Copy(io.Discard, here) }()
		_, _ = here.Write(words)
		here.Close()
		<-done
	})
}
