package nbd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/lockstep-vm/lockstep/ft"
	"github.com/lockstep-vm/lockstep/storage"
)

// The headers have the bytes that the protocol's document says.
func TestHeadersAsTheProtocolHasThem(t *testing.T) {
	for _, c := range []struct {
		name string
		have []byte
		want string
	}{
		{"option", Option{OptGo, 5}.Append(nil), "IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x05"},
		{"option reply", OptionReply{OptGo, RepErrUnknown, 1}.Append(nil), "\x00\x03\xe8\x89\x04\x55\x65\xa9\x00\x00\x00\x07\x80\x00\x00\x06\x00\x00\x00\x01"},
		{"request", Request{Flags: FlagFUA, Type: CmdWrite, Handle: 0x0102030405060708, Offset: 512, Length: 4096}.Append(nil),
			"\x25\x60\x95\x13\x00\x01\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x10\x00"},
		{"reply", Reply{EIO, 7}.Append(nil), "\x67\x44\x66\x98\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x07"},
	} {
		if string(c.have) != c.want {
			t.Errorf("%s: %x, want %x", c.name, c.have, c.want)
		}
	}
}

func TestOptionsComeBackAsTheyWereMade(t *testing.T) {
	f := Fence{Process: ft.ProcessID{1, 2}, Number: ft.Fence{Run: 3, Number: 4}, Export: "disk0", VM: "web"}
	if have, err := ParseFence(f.Append(nil)); err != nil || have != f {
		t.Errorf("%+v, %v", have, err)
	}
	f.Reader = true
	if have, err := ParseFence(f.Append(nil)); err != nil || have != f {
		t.Errorf("%+v, %v", have, err)
	}
	r := Release{"disk0", "web"}
	if have, err := ParseRelease(r.Append(nil)); err != nil || have != r {
		t.Errorf("%+v, %v", have, err)
	}
	call := CellCall{Op: CellCreate, VM: "web", Name: "run-1", Content: []byte("x")}
	if have, err := ParseCellCall(call.Append(nil)); err != nil || !reflect.DeepEqual(have, call) {
		t.Errorf("%+v, %v", have, err)
	}
	s := Select{"disk0", []uint16{InfoBlockSize}}
	if have, err := ParseSelect(s.Append(nil)); err != nil || !reflect.DeepEqual(have, s) {
		t.Errorf("%+v, %v", have, err)
	}
	for name, data := range map[string][]byte{"fence": f.Append(nil), "release": r.Append(nil)} {
		for n := range data {
			_, fenceErr := ParseFence(data[:n])
			_, releaseErr := ParseRelease(data[:n])
			if name == "fence" && fenceErr == nil || name == "release" && releaseErr == nil {
				t.Errorf("%s: %d of %d bytes are accepted", name, n, len(data))
			}
		}
	}
}

func TestURLs(t *testing.T) {
	for text, want := range map[string]Address{
		"nbd://store:1234/disk0":         {"tcp", "store:1234", "disk0"},
		"nbd://store/disk0":              {"tcp", "store:10809", "disk0"},
		"nbd://store":                    {"tcp", "store:10809", ""},
		"nbd://[::1]:99/a%20b":           {"tcp", "[::1]:99", "a b"},
		"nbd://store//disk":              {"tcp", "store:10809", "/disk"},
		"nbd+unix:///disk0?socket=/a/b":  {"unix", "/a/b", "disk0"},
		"nbd+unix:///?socket=%2Fa%26b":   {"unix", "/a&b", ""},
		"nbd+unix:///a%3Fb?socket=/a%20": {"unix", "/a ", "a?b"},
	} {
		have, err := ParseURL(text)
		if err != nil || have != want {
			t.Errorf("%s: %+v, %v; want %+v", text, have, err, want)
		}
		if again, err := ParseURL(have.String()); err != nil || again != have {
			t.Errorf("%s: written as %s, read as %+v, %v", text, have, again, err)
		}
	}
	for text, why := range map[string]string{
		"disk.img":                      "not a URL of an export",
		"nbd:///disk":                   "it needs a host",
		"nbd://user@store/disk":         "it needs a host",
		"nbds://store/disk":             "no TLS",
		"nbd://store/disk?socket=/a":    "means nothing here",
		"nbd+unix:///disk":              "it needs one socket",
		"nbd+unix://host/disk?socket=a": "it needs one socket",
		"nbd+unix:///d?socket=/a&tls=1": "means nothing here",
		"nbd://store/a%00b":             "no export can have this name",
		"nbd+unix:///d?socket=/" + strings.Repeat("a", 107): "longer than 107",
	} {
		if have, err := ParseURL(text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %+v, %v; want an error that says %q", text, have, err, why)
		}
	}
}

// script is a server whose words are known beforehand.
type script struct {
	io.Reader
	io.Writer
}

func say(b ...[]byte) script { return script{bytes.NewReader(bytes.Join(b, nil)), io.Discard} }

func reply(option, kind uint32, body []byte) []byte {
	return append(OptionReply{option, kind, uint32(len(body))}.Append(nil), body...)
}

func greeting(flags uint16) []byte {
	b := binary.BigEndian.AppendUint64(nil, Magic)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(b, OptionMagic), flags)
}

func TestServersThatSayNonsenseAreRefused(t *testing.T) {
	good := Info{Size: 1 << 20, Flags: HasFlags, MinBlock: 512, PreferredBlock: 4096, MaxPayload: MaxPayload}
	bad := func(change func(*Info)) [][]byte {
		i := good
		change(&i)
		return [][]byte{reply(OptGo, RepInfo, i.AppendExport(nil)), reply(OptGo, RepInfo, i.AppendBlockSize(nil)), reply(OptGo, RepAck, nil)}
	}
	if _, err := start(say(bad(func(*Info) {})...), "x"); err != nil {
		t.Fatal(err)
	}
	for why, words := range map[string][][]byte{
		"does not describe":             {reply(OptGo, RepAck, nil)},
		"no transmission flags":         bad(func(i *Info) { i.Flags = 0 }),
		"positive multiple of 512":      bad(func(i *Info) { i.Size = 0 }),
		"has 1000 bytes":                bad(func(i *Info) { i.Size = 1000 }),
		"smallest block":                bad(func(i *Info) { i.MinBlock = 8192 }),
		"smallest block has 3":          bad(func(i *Info) { i.MinBlock = 3 }),
		"no multiple of its blocks":     bad(func(i *Info) { i.MinBlock, i.Size = 4096, 512 }),
		"less than a block":             bad(func(i *Info) { i.MaxPayload = 100 }),
		"which was not asked":           {reply(OptInfo, RepAck, nil)},
		"at most 4194304":               {OptionReply{OptGo, RepInfo, 1 << 31}.Append(nil)},
		"does not speak NBD":            {[]byte("HTTP/1.1 400 Bad Request")},
		"want 10":                       {reply(OptGo, RepInfo, []byte{0, 0, 1})},
		"want 12":                       {reply(OptGo, RepInfo, []byte{0, 3, 1})},
		"ends early":                    {reply(OptGo, RepInfo, []byte{0})},
		"where none belongs":            {reply(OptGo, RepServer, nil)},
		"does not come to an end":       {bytes.Repeat(reply(OptGo, RepInfo, good.AppendExport(nil)), 1024)},
		"go away ?":                     {reply(OptGo, RepErrPolicy, []byte("go\aaway\x1b\xff"))},
		"has no such export":            {reply(OptGo, RepErrUnknown, nil)},
		"does not know NBD_OPT_GO":      {reply(OptGo, RepErrUnsup, nil)},
		"refused with reply 0x80000fff": {reply(OptGo, RepError+0xfff, nil)},
	} {
		if _, err := start(say(words...), "x"); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v; want an error that says %q", err, why)
		}
	}
	var fenced storage.ErrFenced
	body := AppendFenced(nil, ft.Fence{Run: 3, Number: 5}, "no")
	if err := ask(say(reply(OptFence, RepErrFenced, body)), OptFence, nil, noData); !errors.As(err, &fenced) || fenced.By != (ft.Fence{Run: 3, Number: 5}) {
		t.Errorf("refused by number: %v", err)
	}
	for why, words := range map[string][]byte{
		"does not speak NBD": []byte("SSH-2.0-OpenSSH_9.2"),
		"no greeting":        nil,
		"ends early":         greeting(FixedNewstyle)[:12],
		"old negotiation":    greeting(0),
	} {
		if err := hello(say(words)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v; want an error that says %q", err, why)
		}
	}
}

// A client meets any words of a server without a panic, and without memory for
// what did not come.
func FuzzServerWords(f *testing.F) {
	i := Info{Size: 1 << 20, Flags: HasFlags, MinBlock: 512, PreferredBlock: 4096, MaxPayload: MaxPayload}
	f.Add(bytes.Join([][]byte{greeting(FixedNewstyle), reply(OptFence, RepErrUnsup, nil), reply(OptGo, RepInfo, i.AppendExport(nil)),
		reply(OptGo, RepInfo, i.AppendBlockSize(nil)), reply(OptGo, RepAck, nil), Reply{0, 1}.Append(nil), make([]byte, 512)}, nil))
	f.Add(bytes.Join([][]byte{greeting(FixedNewstyle), reply(OptFence, RepErrFenced, AppendFenced(nil, ft.Fence{}, "x"))}, nil))
	f.Fuzz(func(t *testing.T, words []byte) {
		rw := say(words)
		if hello(rw) != nil {
			return
		}
		_ = ask(rw, OptFence, nil, noData)
		if info, err := start(rw, "x"); err == nil {
			if c := info.check(); c != nil {
				t.Fatal(c)
			}
		}
	})
}

// What a client sends decodes to the same bytes again, or not at all.
func FuzzClientWords(f *testing.F) {
	f.Add(Fence{Export: "a", VM: "b"}.Append(nil))
	f.Add(Release{"a", "b"}.Append(nil))
	f.Add(CellCall{Op: CellCreate, VM: "a", Name: "b", Content: []byte("c")}.Append(nil))
	f.Add(Select{"a", []uint16{3}}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ParseFence(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Errorf("%+v", x)
		}
		if x, err := ParseRelease(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Errorf("%+v", x)
		}
		if x, err := ParseCellCall(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Errorf("%+v", x)
		}
		if x, err := ParseSelect(b); err == nil && !bytes.Equal(x.Append(nil), b) {
			t.Errorf("%+v", x)
		}
	})
}
