package engine

import "github.com/moby/moby/api/types/container"

// Health is what the checks of a container have found.
type Health = container.Health

type prober struct{}

func (c *Container) startHealth() {}
func (c *Container) stopHealth()  {}

func (v *View) apiHealth() *container.Health { return v.Health }
func (v *View) healthText() string           { return "" }

func (v *View) healthSummary() *container.HealthSummary { return nil }
