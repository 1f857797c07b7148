// Package simulation holds tests only: whole workers in virtual time.
package simulation
