package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/doctable"
)

// docs/configuration.md shows the flags as the program has them.
func TestConfigurationPage(t *testing.T) {
	parser, err := kong.New(&flags{})
	if err != nil {
		t.Fatal(err)
	}
	doctable.CompareMarkdown(t, "../../docs/configuration.md", "## `invoicebox-demo`", doctable.Flags(parser.Model.Flags))
}
