package engine

import (
	"github.com/moby/moby/api/types/container"
)

// Update changes limits and the restart policy; what is zero stays.
func (c *Container) Update(u *container.UpdateConfig) error {
	if err := container.ValidateRestartPolicy(u.RestartPolicy); err != nil {
		return &Error{Invalid, err}
	}
	return c.do(func() error {
		v := c.View()
		if v.Host.AutoRemove && !u.RestartPolicy.IsNone() {
			return Errorf(Invalid, "Restart policy cannot be updated because AutoRemove is enabled for the container")
		}
		r := *v.Record
		host := *r.Host
		r.Host = &host
		updateResources(&host.Resources, &u.Resources)
		if u.RestartPolicy.Name != "" {
			host.RestartPolicy = u.RestartPolicy
		}
		changed, err := resources(&host.Resources)
		if err != nil {
			return err
		}
		if v.Running() {
			done, err := c.guarantee(&r)
			defer done()
			if err != nil {
				return err
			}
			running, err := c.e.runtime.Load(c.id)
			if err != nil {
				return err
			}
			changed.Devices = nil // they stay
			if err := running.Update(changed); err != nil {
				return err
			}
		}
		if err := c.setRecord(&r); err != nil {
			return err
		}
		c.protect()
		if v.State == container.StateRestarting && host.RestartPolicy.IsNone() {
			if err := c.giveUp(); err != nil {
				return err
			}
		}
		c.publish("update")
		return nil
	})
}

func updateResources(to, from *container.Resources) {
	set := func(to *int64, from int64) {
		if from != 0 {
			*to = from
		}
	}
	if from.NanoCPUs != 0 {
		to.CPUPeriod, to.CPUQuota = 0, 0
	}
	if from.CPUQuota != 0 || from.CPUPeriod != 0 {
		to.NanoCPUs = 0
	}
	set(&to.CPUShares, from.CPUShares)
	set(&to.NanoCPUs, from.NanoCPUs)
	set(&to.CPUPeriod, from.CPUPeriod)
	set(&to.CPUQuota, from.CPUQuota)
	set(&to.CPURealtimePeriod, from.CPURealtimePeriod)
	set(&to.CPURealtimeRuntime, from.CPURealtimeRuntime)
	set(&to.Memory, from.Memory)
	set(&to.MemoryReservation, from.MemoryReservation)
	set(&to.MemorySwap, from.MemorySwap)
	if from.PidsLimit != nil {
		to.PidsLimit = from.PidsLimit
	}
	if from.CpusetCpus != "" {
		to.CpusetCpus = from.CpusetCpus
	}
	if from.CpusetMems != "" {
		to.CpusetMems = from.CpusetMems
	}
	if from.BlkioWeight != 0 {
		to.BlkioWeight = from.BlkioWeight
	}
}
