//go:build !linux

package main

func forbidCoreDumps() {}
