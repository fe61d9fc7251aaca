package image

import (
	"context"
	"os"
	"testing"
)

// TestRealMirror builds the demo guest from the machine's own mirror, twice if
// it is not cached: 120 MB each time. LOCKSTEP_NETWORK_TESTS=1 asks for it.
func TestRealMirror(t *testing.T) {
	if os.Getenv("LOCKSTEP_NETWORK_TESTS") != "1" {
		t.Skip("needs a Debian mirror and 120 MB; set LOCKSTEP_NETWORK_TESTS=1")
	}
	cache := os.Getenv("LOCKSTEP_TEST_CACHE")
	if cache == "" {
		cache = t.TempDir()
	}
	var last Stage
	img, err := Build(context.Background(), Options{CacheDir: cache, Progress: func(e Event) {
		if e.Stage != last {
			last = e.Stage
			t.Logf("%s %s", e.Stage, e.Note)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s %s %s", img.Dir, img.KernelVersion, img.SHA256)
	for _, p := range img.Packages {
		t.Logf("%s %s", p.Name, p.Version)
	}
	if _, err := os.Stat(cache + "/debs"); !os.IsNotExist(err) {
		t.Errorf("packages are left in the cache: %v", err)
	}
}
