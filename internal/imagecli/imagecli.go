// Package imagecli is the commands about images and the store.
package imagecli
