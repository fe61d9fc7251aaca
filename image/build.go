package image

import (
	"context"
	"fmt"
)

// Build fetches and builds an image, replacing one of the same name.
func Build(ctx context.Context, o Options) (*Image, error) {
	return nil, fmt.Errorf("image: being written")
}

// Load finds a built image in the cache (DefaultCacheDir() if cacheDir is
// empty) and checks that its files are whole. The error wraps ErrNotBuilt if
// there is none.
func Load(cacheDir, name string) (*Image, error) {
	return nil, fmt.Errorf("image: %q: %w", name, ErrNotBuilt)
}

// DefaultCacheDir is the directory "lockstep" in the user's cache directory.
func DefaultCacheDir() (string, error) { return "", nil }
