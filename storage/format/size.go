package format

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

var units = map[string]uint{
	"": 0, "K": 10, "KiB": 10, "M": 20, "MiB": 20, "G": 30, "GiB": 30,
	"T": 40, "TiB": 40, "P": 50, "PiB": 50, "E": 60, "EiB": 60,
}

// ParseSize is the bytes of a disk's size like 10G or 512MiB: a number and a
// unit, which is a power of 1024.
func ParseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "KMGTPEiB")
	number, err := strconv.ParseUint(digits, 10, 63)
	shift, known := units[s[len(digits):]]
	switch {
	case err != nil && isNumber(digits) && known, err == nil && known && number > math.MaxInt64>>shift:
		return 0, fmt.Errorf("format: %s is more than a file can hold; write a smaller size", s)
	case err != nil || !known:
		return 0, fmt.Errorf("format: %q is no size; write one like 512M, 10G or 2T", s)
	}
	return int64(number << shift), nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// fits says what is wrong with a disk of size bytes whose blocks are of
// blockSize bytes.
func fits(size int64, blockSize uint32) error {
	switch {
	case blockSize != SectorSize && blockSize != 4096:
		return fmt.Errorf("blocks of %d bytes are not for a disk; choose 512 or 4096", blockSize)
	case size <= 0:
		return fmt.Errorf("the size is %d bytes, and a disk has at least one block of %d", size, blockSize)
	case size%int64(blockSize) != 0:
		unit := int64(blockSize)
		if size < unit {
			return fmt.Errorf("the size is %d bytes, and a disk has at least one block of %d", size, unit)
		}
		return fmt.Errorf("the size is %d bytes, not a multiple of %d; the nearest are %d and %d", size, unit, size/unit*unit, (size/unit+1)*unit)
	}
	return nil
}

// Human writes a number of bytes for people: exact, in the largest unit that
// leaves at least one, with one decimal if it is not whole.
func Human(n int64) string {
	for _, u := range []string{"EiB", "PiB", "TiB", "GiB", "MiB", "KiB"} {
		if unit := int64(1) << units[u]; n >= unit {
			if n%unit == 0 {
				return fmt.Sprintf("%d %s", n/unit, u)
			}
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit), u)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
