package dockerapi

import (
	"slices"

	"tare.dev/tare/internal/instance"
)

// helpers are the routes about what containers are made of: images, volumes, networks.
func (a *api) helpers() []route {
	publish := func(kind string) func(action, id string, attributes map[string]string) {
		return func(action, id string, attributes map[string]string) { a.e.Publish(kind, action, id, attributes) }
	}
	images := newImageAPI(ImageOptions{
		Store: a.e.Store(), Run: a.e.Run(), Users: a.e.UsersOfImage, Event: publish("image"),
	})
	volumes := &volumeAPI{VolumeOptions{
		Volumes: instance.VolumesOf(a.e.Root(), a.e.Run()), Users: a.e.UsersOfVolume, Event: publish("volume"),
	}}
	networks := &networkAPI{a.e}
	usage := &usageAPI{a, images, volumes}
	return slices.Concat(images.routes(), volumes.routes(), networks.routes(), []route{{"GET", "/system/df", usage.df}})
}
