package cgroup

import (
	"fmt"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The range of a v1 block I/O weight.
const (
	minBlockWeight = 10
	maxBlockWeight = 1000
)

// blockioSettings converts linux.resources.blockIO. Rates are bytes or
// operations a second, 0 lifts the limit; weight 0 is taken as not set.
func blockioSettings(p place, b *specs.LinuxBlockIO) ([]setting, error) {
	if err := checkWeights(b); err != nil {
		return nil, err
	}
	if p.v2 {
		return blockioV2(b)
	}
	return blockioV1(p, b)
}

func checkWeights(b *specs.LinuxBlockIO) error {
	check := func(name string, w *uint16) error {
		if v := value(w); v != 0 && (v < minBlockWeight || v > maxBlockWeight) {
			return fmt.Errorf("blockIO.%s %d: not in %d-%d", name, v, minBlockWeight, maxBlockWeight)
		}
		return nil
	}
	if err := check("weight", b.Weight); err != nil {
		return err
	}
	if err := check("leafWeight", b.LeafWeight); err != nil {
		return err
	}
	for _, d := range b.WeightDevice {
		if d.Weight == nil && d.LeafWeight == nil {
			return fmt.Errorf("blockIO.weightDevice %d:%d: neither weight nor leafWeight", d.Major, d.Minor)
		}
		if err := check("weightDevice", d.Weight); err != nil {
			return err
		}
		if err := check("weightDevice", d.LeafWeight); err != nil {
			return err
		}
	}
	return nil
}

func blockioV1(p place, b *specs.LinuxBlockIO) ([]setting, error) {
	var list []setting
	// Linux 5.0 removed the CFQ scheduler, whose files had no name in them; BFQ
	// has its own while it is loaded. Only CFQ knew a leaf weight.
	weight := func(name, v string) setting {
		bfq := setting{file: "blkio.bfq." + name, value: v}
		return setting{file: "blkio." + name, value: v, other: &bfq}
	}
	if v := value(b.Weight); v != 0 {
		list = append(list, weight("weight", strconv.Itoa(int(v))))
	}
	if v := value(b.LeafWeight); v != 0 {
		if !p.missing && !p.has("blkio.leaf_weight") {
			return nil, fmt.Errorf("blockIO.leafWeight: this kernel does not have the CFQ scheduler (it went with Linux 5.0)")
		}
		list = append(list, setting{file: "blkio.leaf_weight", value: strconv.Itoa(int(v))})
	}
	for _, d := range b.WeightDevice {
		if v := value(d.Weight); v != 0 {
			list = append(list, weight("weight_device", fmt.Sprintf("%d:%d %d", d.Major, d.Minor, v)))
		}
		if v := value(d.LeafWeight); v != 0 {
			if !p.missing && !p.has("blkio.leaf_weight_device") {
				return nil, fmt.Errorf("blockIO.weightDevice.leafWeight: this kernel does not have the CFQ scheduler (it went with Linux 5.0)")
			}
			v := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, v)
			list = append(list, setting{file: "blkio.leaf_weight_device", value: v})
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			v := fmt.Sprintf("%d:%d %d", d.Major, d.Minor, d.Rate)
			list = append(list, setting{file: t.v1, value: v})
		}
	}
	return list, nil
}

func blockioV2(b *specs.LinuxBlockIO) ([]setting, error) {
	if value(b.LeafWeight) != 0 {
		return nil, fmt.Errorf("blockIO.leafWeight: cgroup v2 has no such setting")
	}
	var list []setting
	// BFQ keeps the v1 range; io.weight, of the io.cost controller, has its own.
	weight := func(device string, v uint16) setting {
		cost := setting{file: "io.weight", value: device + strconv.FormatUint(ioWeight(v), 10)}
		return setting{file: "io.bfq.weight", value: device + strconv.Itoa(int(v)), other: &cost}
	}
	if v := value(b.Weight); v != 0 {
		list = append(list, weight("", v))
	}
	for _, d := range b.WeightDevice {
		if value(d.LeafWeight) != 0 {
			return nil, fmt.Errorf("blockIO.weightDevice.leafWeight: cgroup v2 has no such setting")
		}
		if v := value(d.Weight); v != 0 {
			list = append(list, weight(fmt.Sprintf("%d:%d ", d.Major, d.Minor), v))
		}
	}
	for _, t := range throttles(b) {
		for _, d := range t.devices {
			rate := "max" // v1 lifts a limit with 0, v2 refuses 0
			if d.Rate != 0 {
				rate = strconv.FormatUint(d.Rate, 10)
			}
			list = append(list, setting{file: "io.max", value: fmt.Sprintf("%d:%d %s=%s", d.Major, d.Minor, t.v2, rate)})
		}
	}
	return list, nil
}

// throttle is one of the four lists of rates and the names of what it sets.
type throttle struct {
	v1, v2  string
	devices []specs.LinuxThrottleDevice
}

func throttles(b *specs.LinuxBlockIO) []throttle {
	return []throttle{
		{"blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	}
}

// ioWeight maps a v1 weight, 10-1000, to io.weight, 1-10000, in a straight
// line, as runc and crun do.
func ioWeight(v uint16) uint64 {
	return 1 + (uint64(v)-minBlockWeight)*9999/990
}
