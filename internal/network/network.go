// Package network gives containers networks: bridges, addresses, filters, names.
package network
