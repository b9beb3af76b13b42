// Package images moves real images, made from Debian packages, with the built program: from and to a
// real registry, archives and Docker. What comes out is compared with independent programs, file by
// file with all metadata: umoci unpacks what tare pulls, and GNU tar what tare writes.
//
// The tests need root and the packages in packages.txt, and are skipped, with the reason, where
// these are not there.
package images
