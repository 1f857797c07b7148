package main

import (
	"testing"

	"github.com/alecthomas/kong"

	"invoicebox-worker/internal/config"
	"invoicebox-worker/internal/testutil/golden"
)

// docs/configuration.md shows the flags as the program has them.
func TestConfigurationPage(t *testing.T) {
	parser, err := kong.New(&flags{}, config.Program{}.Mapper())
	if err != nil {
		t.Fatal(err)
	}
	golden.CompareMarkdown(t, "../../docs/configuration.md", "## `invoicebox-sandbox`", golden.Flags(parser.Model.Flags))
}
