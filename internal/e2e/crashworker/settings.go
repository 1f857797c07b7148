package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/go-json-experiment/json"

	"invoicebox-worker/internal/app"
	"invoicebox-worker/internal/credentials/openbao"
	"invoicebox-worker/internal/kafka"
	"invoicebox-worker/internal/keyset"
	"invoicebox-worker/internal/secretfile"
	"invoicebox-worker/schemas"
)

// settings are what the file holds; those of the service have its names.
type settings struct {
	Point point    `json:"point"`
	Watch []string `json:"watch"` // KIND/SHOP
	// Shared: other workers have the journal too.
	Shared bool `json:"shared"`

	Brokers  []string          `json:"kafka-brokers"`
	Group    string            `json:"kafka-group"`
	Topics   map[string]string `json:"topic"`
	Journal  string            `json:"journal-url"`
	Keyset   string            `json:"keyset-file"`
	URL      string            `json:"invoicebox-url"`
	Listen   string            `json:"listen"`
	Unknown  string            `json:"unknown-outcome"`
	Deadline milliseconds      `json:"request-deadline"`
	Lease    milliseconds      `json:"lease"`
	Quiet    milliseconds      `json:"quiet-period"`
	Slack    milliseconds      `json:"slack"`
	Calls    int               `json:"concurrency"`
	Accounts []account         `json:"accounts"`
	Vault    vault             `json:"vault"`
}

// vault is the store; without an address secrets are sealed.
type vault struct {
	Address   string `json:"vault-address"`
	CAFile    string `json:"vault-ca-file"`
	Mount     string `json:"vault-mount"`
	TokenFile string `json:"vault-token-file"`
}

type milliseconds int64

func (m milliseconds) duration() time.Duration { return time.Duration(m) * time.Millisecond }

type account struct {
	Name      string `json:"name"`
	PartnerID string `json:"partner-id"`
	TokenFile string `json:"token-file"`
}

// unlimited is more requests than a test makes: the limits have tests of their own.
const unlimited = 1_000_000

func readSettings(path string) (s settings, err error) {
	text, err := os.ReadFile(path) // #nosec G703 -- whoever runs it names the file
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s, json.RejectUnknownMembers(true)); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	if !s.Point.known() {
		return s, fmt.Errorf("%s: there is no point %q", path, s.Point)
	}
	return s, nil
}

// options are the settings as the service wants them.
func (s settings) options(log *slog.Logger) (app.Options, error) {
	o := app.Defaults()
	o.Version, o.Logger = "crashworker", log
	o.Kafka, o.KafkaGroup, o.Topics = kafka.Config{Brokers: s.Brokers, ClientID: "crashworker"}, s.Group, s.Topics
	o.JournalURL, o.InvoiceboxURL, o.Listen, o.Start = s.Journal, s.URL, s.Listen, "earliest"
	o.RequestDeadline, o.Lease = s.Deadline.duration(), s.Lease.duration()
	o.QuietPeriod, o.Slack = s.Quiet.duration(), s.Slack.duration()
	o.UnknownOutcome, o.Concurrency, o.EgressRequestsPerWindow = s.Unknown, s.Calls, unlimited
	var err error
	if o.Keyset, err = (keyset.File{Path: s.Keyset}).Load(context.Background()); err != nil {
		return o, err
	}
	if v := s.Vault; v.Address != "" {
		token, err := secretfile.Open("vault-token-file", v.TokenFile, secretfile.Token, log)
		if err != nil {
			return o, err
		}
		o.CredentialsStore = schemas.StoreOpenBao
		o.Vault = &app.Vault{Address: v.Address, CAFile: v.CAFile, Mount: v.Mount, Login: openbao.WithToken(token.Get)}
	}
	for _, a := range s.Accounts {
		token, err := secretfile.Open("token-file", a.TokenFile, secretfile.Token, log)
		if err != nil {
			return o, err
		}
		o.Accounts = append(o.Accounts, app.Account{
			Name: a.Name, PartnerID: a.PartnerID, Token: token.Get, RequestsPerWindow: unlimited, Window: time.Second,
		})
	}
	return o, nil
}
