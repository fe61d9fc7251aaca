package image

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseOneLine(t *testing.T) {
	got, err := parseOneLine(`
# deb http://comment.example/debian trixie main
deb http://one.example/debian trixie main contrib # rest
deb [arch=amd64,arm64 signed-by=/usr/share/keyrings/x.gpg] https://two.example/debian/ trixie main
deb [ arch=amd64 ]	http://three.example/debian	trixie	main
deb-src http://source.example/debian trixie main
deb http://flat.example/repo ./
deb [arch=amd64 http://open.example/debian trixie main
deb mirror+file:/etc/apt/mirrors.txt trixie main
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"http://one.example/debian", "https://two.example/debian/", "http://three.example/debian", "mirror+file:/etc/apt/mirrors.txt"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParseDeb822(t *testing.T) {
	got, err := parseDeb822(`# first
Types: deb deb-src
# a comment inside
URIs: http://one.example/debian
  https://two.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPZ
 -----END PGP PUBLIC KEY BLOCK-----


Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: trixie
Components: main

types: deb
uris: http://three.example/debian
suites: stable
Components: main

Types: deb
URIs: http://flat.example/
Suites: ./
`)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"http://one.example/debian", "https://two.example/debian", "http://three.example/debian"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestAptCandidates(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("sources.list", "deb http://one.example/debian trixie main\ndeb http://one.example/debian/ trixie-updates main\n")
	put("sources.list.d/a.sources", "Types: deb\nURIs: mirror+file:/m http://two.example/debian\nSuites: trixie\n")
	put("sources.list.d/b.list.save", "deb http://saved.example/debian trixie main\n")
	put("sources.list.d/c.sources", "this is no field\n")
	var got []string
	for _, c := range aptCandidates(dir) {
		got = append(got, c.base+" "+filepath.Base(c.from)+" "+c.skip)
	}
	want := []string{
		"http://one.example/debian sources.list ",
		`mirror+file:/m a.sources skipped: "mirror+file" is not among the schemes that work here, http and https`,
		"http://two.example/debian a.sources ",
		filepath.Join(dir, "sources.list.d/c.sources") + ` c.sources could not be read: line 1 is no field: "this is no field"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got := aptCandidates(filepath.Join(dir, "none")); got != nil {
		t.Errorf("no configuration gives %v", got)
	}
}

func TestAptProxy(t *testing.T) {
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"} {
		t.Setenv(name, "")
	}
	for _, c := range []struct{ conf, url, want string }{
		{`Acquire::http::Proxy "http://p:1";`, "http://m.example/x", "http://p:1"},
		{`Acquire::http::Proxy "http://p:1";`, "https://m.example/x", "http://p:1"},
		{`acquire { HTTP { proxy "http://p:2"; }; https { Proxy "http://q:3"; } }`, "https://m.example/x", "http://q:3"},
		{`// Acquire::http::Proxy "http://p:1";` + "\n# x\n/* Acquire::http::Proxy \"http://p:1\"; */", "http://m.example/x", ""},
		{`Acquire::http::Proxy "http://p:1"; Acquire::http::Proxy::m.example "DIRECT";`, "http://m.example/x", ""},
		{`Acquire::http { Proxy "http://p:1/a;b"; Timeout "3"; };`, "http://m.example/x", "http://p:1/a;b"},
		{`}};{"open`, "http://m.example/x", ""},
	} {
		conf := aptConfig{}
		conf.parse(c.conf)
		req, err := http.NewRequest("GET", c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		u, err := conf.proxy(req)
		if err != nil {
			t.Fatal(err)
		}
		if u != nil {
			got = u.String()
		}
		if got != c.want {
			t.Errorf("%s\n%s goes through %q, want %q", c.conf, c.url, got, c.want)
		}
	}
}
