package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
)

// completion prints a script for a shell. It is made from the grammar, so that
// it knows every command and flag of this version.
type completion struct {
	Shell string `arg:"" name:"shell" enum:"bash,zsh,fish" help:"bash (source it in .bashrc), zsh (in .zshrc) or fish (into ~/.config/fish/completions/invoicebox-worker.fish)."`
}

// Run prints the script.
func (c *completion) Run(ctx *kong.Context, env environment) error {
	words := map[string][]string{}
	collect(ctx.Model.Node, ctx.Model.Flags, words)
	var script strings.Builder
	switch c.Shell {
	case "fish":
		fishScript(&script, words)
	case "zsh":
		script.WriteString("autoload -U +X bashcompinit && bashcompinit\n")
		bashScript(&script, words)
	default:
		bashScript(&script, words)
	}
	_, err := io.WriteString(env.stdout, script.String())
	return err
}

// collect lists what may follow each command: its commands, or its flags with
// the settings that it uses. The key is the command's path, "" for the program.
func collect(node *kong.Node, all []*kong.Flag, words map[string][]string) {
	path := ""
	if node.Type == kong.CommandNode {
		path = node.Path()
	}
	var found []string
	for _, child := range node.Children {
		if child.Hidden {
			continue
		}
		found = append(found, child.Name)
		collect(child, all, words)
	}
	flags := []*kong.Flag{}
	switch {
	case path == "":
		flags = slices.DeleteFunc(slices.Clone(all), func(f *kong.Flag) bool { return f.Tag.Type == "setting" })
	case len(node.Children) == 0:
		flags = append(slices.Clone(node.Flags), config.Used(node, all)...)
	}
	for _, f := range flags {
		found = append(found, "--"+f.Name)
	}
	if path != "" {
		found = append(found, "--help")
	}
	words[path] = found
}

func paths(words map[string][]string) []string {
	var list []string
	for path := range words {
		list = append(list, path)
	}
	slices.Sort(list)
	return list
}

func bashScript(w io.Writer, words map[string][]string) {
	fmt.Fprint(w, `_invoicebox_worker() {
  local current=${COMP_WORDS[COMP_CWORD]} path= words= i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${path:+$path }${COMP_WORDS[i]}" in
`)
	var known []string
	for _, path := range paths(words)[1:] {
		known = append(known, "'"+path+"'")
	}
	fmt.Fprintf(w, "      %s) path=\"${path:+$path }${COMP_WORDS[i]}\" ;;\n    esac\n  done\n  case \"$path\" in\n", strings.Join(known, "|"))
	for _, path := range paths(words) {
		fmt.Fprintf(w, "    '%s') words='%s' ;;\n", path, strings.Join(words[path], " "))
	}
	fmt.Fprint(w, `  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _invoicebox_worker invoicebox-worker
`)
}

func fishScript(w io.Writer, words map[string][]string) {
	var known []string
	for _, path := range paths(words)[1:] {
		known = append(known, "'"+path+"'")
	}
	fmt.Fprintf(w, `function __invoicebox_worker_at
  set -l at
  for word in (commandline -opc)[2..]
    set -l next (string trim -- "$at $word")
    contains -- $next %s; and set at $next
  end
  test "$at" = "$argv[1]"
end
`, strings.Join(known, " "))
	for _, path := range paths(words) {
		for _, word := range words[path] {
			if flag, ok := strings.CutPrefix(word, "--"); ok {
				fmt.Fprintf(w, "complete -c invoicebox-worker -n '__invoicebox_worker_at \"%s\"' -l %s\n", path, flag)
			} else {
				fmt.Fprintf(w, "complete -c invoicebox-worker -f -n '__invoicebox_worker_at \"%s\"' -a %s\n", path, word)
			}
		}
	}
}
