package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"invoicebox-worker/internal/config"
)

type effectiveJSON struct {
	Settings []settingJSON        `json:"settings"`
	Accounts []accountSettingJSON `json:"accounts"` // of the file
}

type settingJSON struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

type accountSettingJSON struct {
	Name              string `json:"name"`
	PartnerID         string `json:"partnerId"`
	TokenFile         string `json:"tokenFile"`
	SigningKeyFile    string `json:"signingKeyFile,omitzero"`
	SigningAlgorithm  string `json:"signingAlgorithm,omitzero"`
	SigningEncoding   string `json:"signingEncoding,omitzero"`
	RequestsPerWindow int    `json:"requestsPerWindow,omitzero"`
	Window            string `json:"window,omitzero"`
	CredentialsStore  string `json:"credentialsStore,omitzero"`
}

func (s *settings) effective() effectiveJSON {
	var v effectiveJSON
	for _, e := range s.given.Effective(&s.Worker) {
		v.Settings = append(v.Settings, settingJSON{e.Name, e.Value, e.Source})
	}
	for _, a := range s.given.Accounts {
		v.Accounts = append(v.Accounts, accountSettingOf(a))
	}
	return v
}

func accountSettingOf(a config.Account) accountSettingJSON {
	v := accountSettingJSON{
		Name: a.Name, PartnerID: a.PartnerID, TokenFile: a.TokenFile, SigningKeyFile: a.SigningKeyFile, SigningAlgorithm: a.SigningAlgorithm,
		SigningEncoding: a.SigningEncoding, RequestsPerWindow: a.RequestsPerWindow, CredentialsStore: a.CredentialsStore,
	}
	if a.Window != 0 {
		v.Window = a.Window.String()
	}
	return v
}

type systemJSON struct {
	Time        time.Time         `json:"time"`
	Host        string            `json:"host"`
	OS          string            `json:"os"`
	Kernel      string            `json:"kernel,omitzero"`
	UID         int               `json:"uid"`
	GID         int               `json:"gid"`
	CPUs        int               `json:"cpus"`
	MaxProcs    int               `json:"gomaxprocs"`
	MemoryLimit int64             `json:"gomemlimit,omitzero"` // in bytes
	Files       map[string]string `json:"files"`               // what the system says of this process and its container
	// Variables are set. Their values are not shown: some hold passwords.
	Variables []string `json:"variables"`
}

// systemFiles hold limits and the system's name, and nothing of other processes.
var systemFiles = []string{"/proc/self/limits", "/proc/meminfo", "/proc/self/cgroup", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/cpu.max", "/etc/os-release"}

// variablesOf begin the names of variables that change what the worker does.
var variablesOf = []string{config.WorkerPrefix, "PG", "BAO_", "VAULT_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_", "GODEBUG", "GOMAXPROCS", "GOMEMLIMIT", "GOGC", "GOTRACEBACK", "TZ"}

func systemNow(environ []string) systemJSON {
	host, _ := os.Hostname() // "" where the system does not say
	v := systemJSON{
		Time: time.Now().UTC(), Host: host, OS: runtime.GOOS + "/" + runtime.GOARCH, UID: os.Getuid(), GID: os.Getgid(),
		CPUs: runtime.NumCPU(), MaxProcs: runtime.GOMAXPROCS(0), Files: map[string]string{}, Variables: []string{},
	}
	if limit := debug.SetMemoryLimit(-1); limit < 1<<62 {
		v.MemoryLimit = limit
	}
	if doc, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		v.Kernel = strings.TrimSpace(string(doc))
	}
	for _, name := range systemFiles {
		if doc, err := os.ReadFile(name); err == nil { // #nosec G304 -- of the list above
			v.Files[name] = string(doc)
		}
	}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if slices.ContainsFunc(variablesOf, func(begin string) bool { return strings.HasPrefix(name, begin) }) {
			v.Variables = append(v.Variables, name)
		}
	}
	slices.Sort(v.Variables)
	return v
}
