package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// hugetlbSettings converts linux.resources.hugepageLimits: bytes of each page
// size, both as reservations and as pages in use.
func hugetlbSettings(p place, limits []specs.LinuxHugepageLimit) ([]setting, error) {
	end := ".limit_in_bytes"
	if p.v2 {
		end = ".max"
	}
	pages := hugepageSizes(p.files)
	var list []setting
	for _, l := range limits {
		if !slices.Contains(pages, l.Pagesize) {
			return nil, fmt.Errorf("hugepageLimits %q: not a huge page size of this machine (%s)",
				l.Pagesize, strings.Join(pages, ", "))
		}
		v := strconv.FormatUint(l.Limit, 10)
		list = append(list,
			// Optional: reservations are counted since Linux 5.7; the specification
			// asks to fall back to pages in use.
			setting{file: "hugetlb." + l.Pagesize + ".rsvd" + end, value: v, optional: true},
			setting{file: "hugetlb." + l.Pagesize + end, value: v})
	}
	return list, nil
}
