package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is set when a release is linked: -ldflags '-X main.version=1.2.3'.
var version = ""

// versionShow prints the version.
type versionShow struct{ outputFlag }

type versionJSON struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitzero"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (c *versionShow) Run(env environment) error {
	v := versionNow()
	return c.write(env.stdout, v, func(w io.Writer) { _, _ = fmt.Fprintln(w, versionLine(v)) })
}

func versionNow() versionJSON {
	return versionJSON{Version: programVersion(), Revision: revision(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
}

func versionLine(v versionJSON) string {
	return strings.Join(strings.Fields("invoicebox-worker "+v.Version+" "+v.Revision+" "+v.Go+" "+v.Platform), " ")
}

func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	text, modified := "", false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			text = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified {
		text += "+modified"
	}
	return text
}
