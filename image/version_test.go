package image

import "testing"

// Debian Policy 5.6.12, and the corners that dpkg's own order has.
func TestCompareVersions(t *testing.T) {
	ascending := [][2]string{
		{"1.0", "1.1"}, {"1.9", "1.10"}, {"1.0~rc1", "1.0"}, {"1.0~~", "1.0~"}, {"1.0~~a", "1.0~"},
		{"1.0", "1.0a"}, {"1.0a", "1.0+"}, {"1.0-1", "1.0-2"}, {"1.0-1", "1.0-1+b1"}, {"1.0-1~bpo1", "1.0-1"},
		{"9.9", "1:0.1"}, {"1:1", "2:0"}, {"6.12.94-1", "6.12.107-1"}, {"2.41-12+deb13u4", "2.41-12+deb13u10"},
		{"1.0-1-1", "1.0-1-2"}, {"", "0a"}, {"1.99999999999999999999", "1.100000000000000000000"},
		{"1:1.3.dfsg+really1.3.1-1+b1", "1:1.3.dfsg+really1.3.1-1+deb13u1"},
	}
	for _, v := range ascending {
		if compareVersions(v[0], v[1]) >= 0 || compareVersions(v[1], v[0]) <= 0 {
			t.Errorf("%q should come before %q", v[0], v[1])
		}
	}
	for _, v := range [][2]string{{"1.0", "1.0"}, {"0:1.0", "1.0"}, {"1.00", "1.0"}, {"1.0-0", "1.0"}, {"1.0", "1.0-"}} {
		if compareVersions(v[0], v[1]) != 0 || compareVersions(v[1], v[0]) != 0 {
			t.Errorf("%q and %q should be the same", v[0], v[1])
		}
	}
}
