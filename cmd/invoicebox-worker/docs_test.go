package main

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/testutil/golden"
)

const configurationPage = "../../docs/configuration.md"

// docs/configuration.md shows all settings and commands as the program has them.
func TestConfigurationPage(t *testing.T) {
	root := grammar(t).Model.Node
	t.Run("Settings", func(t *testing.T) {
		groups := []struct{ key, title string }{
			{"general", "General"}, {"kafka", "Kafka"}, {"journal", "Journal and keys"},
			{"invoicebox", "Invoicebox"}, {"work", "Events and credentials"}, {"vault", "OpenBao and Vault"}, {"time", "Times"},
		}
		shown := 0
		for _, g := range groups {
			var flags []*kong.Flag
			for _, f := range root.Flags {
				if f.Tag.Type == "setting" && f.Group.Key == g.key {
					flags = append(flags, f)
				}
			}
			shown += len(flags)
			golden.CompareMarkdown(t, configurationPage, "### "+g.title, golden.Flags(flags))
		}
		all := 0
		for _, f := range root.Flags {
			if f.Tag.Type == "setting" {
				all++
			}
		}
		if shown != all {
			t.Errorf("%d of %d settings are in the groups of the page", shown, all)
		}
	})
	t.Run("Accounts", func(t *testing.T) {
		rows := [][]string{{"member", "allowed", "the setting that it replaces"}}
		for field := range reflect.TypeFor[config.Account]().Fields() {
			name, allowed, flag := field.Tag.Get("name"), "", ""
			switch {
			case field.Tag.Get("oneof") != "":
				allowed = "`" + strings.ReplaceAll(field.Tag.Get("oneof"), ",", "`, `") + "`"
			case field.Tag.Get("min") != "":
				allowed = "`" + field.Tag.Get("min") + "` to `" + field.Tag.Get("max") + "`"
			}
			for _, f := range root.Flags {
				if f.Name == name {
					flag = golden.Code("--" + name)
				}
			}
			rows = append(rows, []string{golden.Code(name), allowed, flag})
		}
		golden.CompareMarkdown(t, configurationPage, "### Several accounts", rows)
	})
	t.Run("Commands", func(t *testing.T) {
		var commands []*kong.Node
		walk(root, func(n *kong.Node) {
			if n.Type == kong.CommandNode && len(n.Children) == 0 && !n.Hidden {
				commands = append(commands, n)
			}
		})
		uses := map[string]int{} // by how many commands have a flag with this help
		for _, n := range commands {
			for _, f := range n.Flags {
				uses[f.Name+f.Help]++
			}
		}
		var shared, own []*kong.Flag
		var b strings.Builder
		for _, n := range commands {
			use, others := n.Path(), []string{}
			for _, p := range n.Positional {
				use += " " + p.Summary()
			}
			own = nil
			for _, f := range n.Flags {
				at := slices.IndexFunc(shared, func(s *kong.Flag) bool { return s.Name == f.Name })
				if uses[f.Name+f.Help] <= 2 || at >= 0 && shared[at].Help != f.Help {
					own = append(own, f) // the table of shared flags has one meaning for each name
					continue
				}
				others = append(others, "`--"+f.Name+"`")
				if at < 0 {
					shared = append(shared, f)
				}
			}
			_, _ = fmt.Fprintf(&b, "### `%s`\n\n%s\n\n- Settings: %s.\n", use, n.Help, usedSettings(n))
			if len(others) > 0 {
				_, _ = fmt.Fprintf(&b, "- Shared flags: %s.\n", strings.Join(others, ", "))
			}
			b.WriteByte('\n')
			if rows := golden.Flags(own); len(rows) > 1 {
				_, _ = fmt.Fprintf(&b, "%s\n\n", golden.Markdown(rows))
			}
		}
		golden.CompareMarkdown(t, configurationPage, "## Flags of several commands", golden.Flags(shared))
		golden.CompareSection(t, configurationPage, "## Commands of `invoicebox-worker`", b.String())
	})
}

// usedSettings says which settings a command reads.
func usedSettings(n *kong.Node) string {
	switch names := n.Tag.Get("settings"); names {
	case "":
		return "none"
	case "*":
		return "all"
	default:
		return "`--" + strings.ReplaceAll(names, ",", "`, `--") + "`"
	}
}
