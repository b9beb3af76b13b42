package dockerapi

import (
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/build"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/api/types/volume"

	"tare.dev/tare/internal/instance"
)

// usageAPI is GET /system/df: what lies on flash, and for whom.
type usageAPI struct {
	api     *api
	images  *imageAPI
	volumes *volumeAPI
}

// oldUsage is the answer before API 1.52.
type oldUsage struct {
	LayersSize int64
	Images     []image.Summary
	Containers []container.Summary
	Volumes    []volume.Volume
	BuildCache []build.CacheRecord
}

func (u *usageAPI) df(w http.ResponseWriter, r *http.Request) error {
	kinds := r.URL.Query()["type"]
	wanted := func(kind system.DiskUsageObject) bool { return len(kinds) == 0 || slices.Contains(kinds, string(kind)) }
	var out system.DiskUsage
	var err error
	if wanted(system.ImageObject) {
		if out.ImageUsage, err = u.ofImages(); err != nil {
			return err
		}
	}
	if wanted(system.ContainerObject) {
		out.ContainerUsage = u.ofContainers()
	}
	if wanted(system.VolumeObject) {
		if out.VolumeUsage, err = u.ofVolumes(); err != nil {
			return err
		}
	}
	if wanted(system.BuildCacheObject) {
		out.BuildCacheUsage = &build.DiskUsage{}
	}
	if !speaks(r, "1.52") {
		return writeJSON(w, http.StatusOK, olderUsage(&out))
	}
	if flag(r.URL.Query(), "verbose") {
		return writeJSON(w, http.StatusOK, out)
	}
	// Clients that take the newest version there is and do not know it read the older fields.
	old := olderUsage(&out)
	dropItems(&out)
	return writeJSON(w, http.StatusOK, struct {
		oldUsage
		system.DiskUsage
	}{old, out})
}

// dropItems leaves the sums.
func dropItems(u *system.DiskUsage) {
	if u.ImageUsage != nil {
		u.ImageUsage.Items = nil
	}
	if u.ContainerUsage != nil {
		u.ContainerUsage.Items = nil
	}
	if u.VolumeUsage != nil {
		u.VolumeUsage.Items = nil
	}
}

// olderUsage is the same for older clients.
func olderUsage(u *system.DiskUsage) oldUsage {
	old := oldUsage{BuildCache: []build.CacheRecord{}}
	if u.ImageUsage != nil {
		old.LayersSize, old.Images = u.ImageUsage.TotalSize, u.ImageUsage.Items
	}
	if u.ContainerUsage != nil {
		old.Containers = u.ContainerUsage.Items
	}
	if u.VolumeUsage != nil {
		old.Volumes = u.VolumeUsage.Items
	}
	return old
}

// ofImages counts what images share once.
func (u *usageAPI) ofImages() (*image.DiskUsage, error) {
	all, err := u.images.Store.Usage()
	if err != nil {
		return nil, err
	}
	d := &image.DiskUsage{Items: []image.Summary{}, TotalSize: all.Unique}
	for _, one := range all.Images {
		i, err := u.images.Store.Image(one.Digest)
		if err != nil {
			continue // removed meanwhile
		}
		s, err := u.images.summary(i)
		if err != nil {
			return nil, err
		}
		s.SharedSize = one.Shared
		d.Items = append(d.Items, s)
		d.TotalCount++
		if s.Containers > 0 {
			d.ActiveCount++
		} else {
			d.Reclaimable += one.Own
		}
	}
	return d, nil
}

// ofContainers counts them; what they write is in memory unless it was asked for otherwise.
func (u *usageAPI) ofContainers() *container.DiskUsage {
	d := &container.DiskUsage{Items: []container.Summary{}}
	for _, c := range u.api.e.Containers() {
		v := c.View()
		d.Items = append(d.Items, c.Summary())
		d.TotalCount++
		if v.Running() {
			d.ActiveCount++
		}
	}
	return d
}

func (u *usageAPI) ofVolumes() (*volume.DiskUsage, error) {
	all, err := u.volumes.Volumes.List()
	if err != nil {
		return nil, err
	}
	d := &volume.DiskUsage{Items: []volume.Volume{}}
	for _, v := range all {
		used := int64(0)
		if v.Options["device"] == "" { // what is on the host is the host's
			if used, _, err = instance.Usage(v.Path); err != nil {
				return nil, err
			}
		}
		one := apiVolume(v)
		users := len(u.volumes.Users(v.Name))
		one.UsageData = &volume.UsageData{Size: used, RefCount: int64(users)}
		d.Items = append(d.Items, one)
		d.TotalCount++
		d.TotalSize += used
		if users > 0 {
			d.ActiveCount++
		} else {
			d.Reclaimable += used
		}
	}
	return d, nil
}
