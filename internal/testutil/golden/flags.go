package golden

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// Flags returns the rows of a table of flags: the flag with its value, the default,
// what is allowed, and the help.
func Flags(flags []*kong.Flag) [][]string {
	rows := [][]string{{"flag", "default", "allowed", "description"}}
	for _, f := range flags {
		if f.Name == "help" || f.Hidden {
			continue
		}
		name := "--" + f.Name
		if !f.IsBool() {
			name += " " + placeholder(f)
		}
		rows = append(rows, []string{Code(name), Code(f.Default), allowed(f), help(f)})
	}
	return rows
}

func placeholder(f *kong.Flag) string {
	switch {
	case f.PlaceHolder != "":
		return f.PlaceHolder
	case f.Target.Type() == reflect.TypeFor[time.Duration]():
		return "TIME"
	case f.Target.Kind() == reflect.String:
		return "WORD"
	}
	return "N"
}

// allowed is the range or the set of values that the tags of a flag give.
func allowed(f *kong.Flag) string {
	set := f.Enum
	if set == "" && f.Tag.Has("oneof") {
		set = f.Tag.Get("oneof")
	}
	switch {
	case set != "":
		words := slices.DeleteFunc(strings.Split(set, ","), func(word string) bool { return word == "" })
		return "`" + strings.Join(words, "`, `") + "`"
	case f.Tag.Has("min"):
		bounds := "`" + f.Tag.Get("min") + "` to `" + f.Tag.Get("max") + "`"
		if f.Tag.Has("or") {
			return "`" + f.Tag.Get("or") + "`, or " + bounds
		}
		return bounds
	}
	return ""
}

// help is the help without the default and the set of values, which have columns.
func help(f *kong.Flag) string {
	text := f.Help
	if f.Default != "" {
		for _, note := range []string{" (default " + f.Default + ")", " (" + f.Default + ")"} {
			text = strings.ReplaceAll(text, note, "")
		}
		text = strings.ReplaceAll(text, "("+f.Default+", ", "(")
	}
	if f.Enum != "" {
		text = strings.ReplaceAll(text, ": "+f.Enum, "")
	}
	if words := strings.Split(f.Tag.Get("oneof"), ","); len(words) > 1 {
		last := len(words) - 1
		set := ": " + strings.Join(words[:last], ", ") + " or " + words[last]
		for _, end := range []string{".", " ("} {
			text = strings.ReplaceAll(text, set+end, end)
		}
	}
	return text
}
