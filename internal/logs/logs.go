// Package logs keeps what containers print, in memory, compressed, within a budget.
package logs
