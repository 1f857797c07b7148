package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
)

const program = "invoicebox-worker"

// printHelp shows a command's own flags first, and of the settings only those
// that the command uses. The program's own help shows all of them.
func printHelp(options kong.HelpOptions, ctx *kong.Context) error {
	if selected := ctx.Selected(); selected != nil {
		ownFlagsFirst(ctx.Model.Node, selected)
	}
	return kong.DefaultHelpPrinter(options, ctx)
}

// ownFlagsFirst moves the settings that the command uses behind its own flags and removes the
// others. It is for the help only: nothing is parsed afterwards.
func ownFlagsFirst(root, command *kong.Node) {
	own := &kong.Group{Key: "command", Title: "Of this command:"}
	settings := config.Used(command, root.Flags)
	var flags []*kong.Flag
	for _, f := range root.Flags {
		if f.Name == "help" {
			f.Group = own
			flags = append(flags, f)
		}
	}
	root.Flags = nil
	command.Flags = slices.Concat(flags, command.Flags, settings)
}

// explainUsage describes an error of a command line, and names the help to read.
func explainUsage(err error) error {
	text, where := err.Error(), program
	if parse, ok := errors.AsType[*kong.ParseError](err); ok && parse.Context != nil {
		if command := parse.Context.Selected(); command != nil {
			where = command.FullPath()
			if strings.HasPrefix(text, "expected ") {
				text = missing(parse.Context, command, text)
			}
		}
	}
	return fmt.Errorf("%s; see %s --help", text, where)
}

// missing names the missing part of a command line; without one it returns the text
// unchanged.
func missing(ctx *kong.Context, command *kong.Node, text string) string {
	given := 0
	for _, p := range ctx.Path {
		if p.Positional != nil {
			given++
		}
	}
	if given < len(command.Positional) {
		a := command.Positional[given]
		what, _, _ := strings.Cut(strings.TrimSuffix(a.Help, "."), ";")
		return fmt.Sprintf("%s needs %s <%s>: %s", command.Path(), article(a.Name), a.Name, lowerFirst(what))
	}
	var names []string
	for _, c := range command.Children {
		if !c.Hidden {
			names = append(names, c.Name)
		}
	}
	if len(names) == 0 {
		return text
	}
	return command.Path() + " needs a command: " + strings.Join(names, " or ")
}

func article(noun string) string {
	if strings.ContainsAny(noun[:1], "aeiou") {
		return "an"
	}
	return "a"
}

func lowerFirst(text string) string {
	if text == "" {
		return text
	}
	return strings.ToLower(text[:1]) + text[1:]
}
