// Package engine runs a device's containers: their states, their supervision, their recovery.
package engine
