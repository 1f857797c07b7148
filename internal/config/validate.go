package config

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"invoicebox-worker/internal/loopback"
	"invoicebox-worker/schemas"
)

// validate returns what would be right for a text, or "" if it is right.
func (p Program) validate(r rule, text string) string {
	if r.oneof != "" && !slices.Contains(strings.Split(r.oneof, ","), text) {
		return "must be one of " + strings.ReplaceAll(r.oneof, ",", ", ")
	}
	if r.check == "" {
		return ""
	}
	if check, ok := p.Checks[r.check]; ok {
		return check(text)
	}
	return validators()[r.check](text)
}

// validators are the checks that a tag can name. They return what would be right, or
// "" for a value that is right.
func validators() map[string]func(text string) (want string) {
	return map[string]func(string) string{
		"hostport": checkHostPort,
		"listen":   checkListen,
		"group":    checkGroup,
		"api":      checkAPI,
		"partner":  checkPartner,
		"vault":    CheckVaultAddress,
		"otlp":     checkOTLP,
		"mount":    checkMount,
		"start":    checkStart,
		"identity": checkIdentity,
		"name":     checkName,
		"account":  checkAccount,
	}
}

func checkHostPort(text string) string {
	const want = "must be host:port with a port from 1 to 65535, several separated by commas"
	host, port, err := net.SplitHostPort(text)
	if err != nil || host == "" || strings.ContainsAny(host, " /@") || !isPort(port, 1) {
		return want
	}
	return ""
}

func checkListen(text string) string {
	host, port, err := net.SplitHostPort(text)
	if err != nil || strings.ContainsAny(host, " /@") || !isPort(port, 0) {
		return "must be host:port such as 127.0.0.1:9464 or :9464; port 0 takes a free one"
	}
	return ""
}

func isPort(text string, least int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= least && n <= 65535 && strconv.Itoa(n) == text
}

func checkGroup(text string) string {
	if len(text) > 255 || strings.TrimSpace(text) != text {
		return "must be 1 to 255 bytes without spaces around them"
	}
	return ""
}

func checkAPI(text string) string {
	const want = "must be an address such as https://api.invoicebox.ru, without user, query and fragment; http is for loopback only"
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return want
	}
	if port := u.Port(); port != "" && !isPort(port, 1) {
		return want
	}
	if u.Scheme == "https" || u.Scheme == "http" && loopback.IsHost(u.Hostname()) {
		return ""
	}
	return want
}

func checkPartner(text string) string {
	if len(text) > 36 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "must be 1 to 36 visible ASCII characters, for example a UUID"
	}
	return ""
}

// CheckVaultAddress is the check of vault-address, for an address from elsewhere.
func CheckVaultAddress(text string) (want string) {
	u, err := url.Parse(text)
	if err == nil && u.Opaque == "" && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && !strings.Contains(text, "#") && strings.Trim(u.Path, "/") == "" &&
		(u.Port() == "" || isPort(u.Port(), 1)) && (u.Scheme == "https" || u.Scheme == "http" && loopback.IsHost(u.Hostname())) {
		return ""
	}
	return "must be an address such as https://openbao.example:8200, without user, path, query and fragment; http is for loopback only"
}

func checkOTLP(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") ||
		u.Port() != "" && !isPort(u.Port(), 1) || u.Scheme != "https" && u.Scheme != "http" {
		return "must be an address such as https://collector.example:4318, without user, query and fragment"
	}
	return ""
}

// Unencrypted reports whether requests to an address leave this machine without TLS.
func Unencrypted(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "http" && !loopback.IsHost(u.Hostname())
}

func checkMount(text string) string {
	ref := schemas.Reference{Store: schemas.StoreOpenBao, Mount: text, Account: "default", Shop: "shop-1"}
	if ref.Check() != nil {
		return "must be a path of the characters A-Z a-z 0-9 . _ - in parts that are joined by slashes, such as secret"
	}
	return ""
}

func checkStart(text string) string {
	if text == "earliest" || text == "latest" {
		return ""
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return "must be earliest, latest or a time such as 2026-01-31T00:00:00Z"
	}
	return ""
}

func checkIdentity(text string) string {
	if id, err := uuid.Parse(text); err != nil || id.String() != text {
		return "must be the identity of a journal, a UUID as the error of run prints it"
	}
	return ""
}

func checkName(text string) string {
	if len(text) > 128 {
		return "must be a name of 1 to 128 bytes"
	}
	return ""
}

func checkAccount(text string) string {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	if text == "" || len(text) > schemas.MaxAccountBytes || strings.ContainsFunc(text, bad) {
		return "must be 1 to " + strconv.Itoa(schemas.MaxAccountBytes) + " of the characters A-Z a-z 0-9 . _ -; an account's name is permanent"
	}
	return ""
}

// checkTopic returns what would be right for the topic of an event, or "" if it is
// right.
func checkTopic(name, topic string) string {
	known := slices.Concat(schemas.InputTypes(), schemas.OutputTypes())
	if !slices.Contains(known, name) {
		return "must be NAME=TOPIC with one of the names " + strings.Join(known, ", ")
	}
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-')
	}
	if topic == "" || topic == "." || topic == ".." || len(topic) > schemas.MaxTopicBytes || strings.ContainsFunc(topic, bad) {
		return "must name a topic of 1 to 249 of the characters A-Z a-z 0-9 . _ -"
	}
	return ""
}
