package imagelock

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestLocksExcludeEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	for _, c := range []struct {
		first, second Kind
		want          error
	}{
		{Exclusive, Exclusive, ErrHeld},
		{Exclusive, Shared, ErrHeld},
		{Shared, Exclusive, ErrHeld},
		{Shared, Shared, nil},
	} {
		a, b := open(), open()
		if err := Take(a, c.first); err != nil {
			t.Fatal(err)
		}
		if err := Take(b, c.second); !errors.Is(err, c.want) {
			t.Errorf("%v after %v: %v, want %v", c.second, c.first, err, c.want)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if err := Take(b, Exclusive); err != nil {
			t.Errorf("after the other descriptor was closed: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var other *fs.PathError
	a := open()
	_ = a.Close()
	if err := Take(a, Shared); errors.Is(err, ErrHeld) || !errors.As(err, &other) {
		t.Errorf("of a closed file: %v", err)
	}
}
