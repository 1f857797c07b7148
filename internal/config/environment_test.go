package config

import (
	"slices"
	"testing"
)

func TestVariables(t *testing.T) {
	v := newVariables("APP_", []string{"APP_TOKEN_FILE=a", "APP_EMPTY=", "WINDOW=0", "APP_TOKEN_FILE=b", "APP_WINDOW=x=y"})
	for setting, want := range map[string]string{"token-file": "a", "empty": "", "window": "x=y", "absent": ""} {
		if got, ok := v.lookup(setting); got != want || ok != (want != "") {
			t.Errorf("%s: %q, %t", setting, got, ok)
		}
	}
}

func TestNearMisses(t *testing.T) {
	settings := []string{"kafka-brokers", "window", "lease", "log-level"}
	for variable, want := range map[string]string{
		"APP_KAFKA_BROKER": "kafka-brokers", "APP_KAFKABROKERS": "kafka-brokers", "APP_KAFKA_BORKERS": "kafka-brokers", "APP_kafka_brokers": "kafka-brokers",
		"APP_WINDOWS": "window", "APP_LOG__LEVEL": "log-level", "APP_LAESE": "lease",
		"APP_KAFKA_BROKERS": "", "APP_SOMETHING_ELSE": "", "APP_PORT": "", "APP_SERVICE_HOST": "", "APP_WIDE": "", "OTHER_WINDOWS": "", "APP_": "", "APP_LEASE_PORT": "",
	} {
		var got string
		if near := newVariables("APP_", []string{variable + "=x"}).nearMisses(settings); len(near) > 0 {
			got = near[0].Setting
		}
		if got != want {
			t.Errorf("%s: %q, want %q", variable, got, want)
		}
	}
}

func TestIsServiceLink(t *testing.T) {
	for name, want := range map[string]bool{
		"A_PORT": true, "A_SERVICE_HOST": true, "A_SERVICE_PORT": true, "A_SERVICE_PORT_HTTP": true, "A_PORT_80_TCP": true, "A_PORT_80_UDP_ADDR": true,
		"A_PORT_80_SCTP_PROTO": true, "A_PORT_80_TCP_PORT": true, "A_LISTEN": false, "A_PORTS": false, "A_SUPPORT": false, "A_SERVICE": false,
	} {
		if IsServiceLink(name) != want {
			t.Errorf("%s: want %t", name, want)
		}
	}
	if !slices.Equal(newVariables("A_", nil).nearMisses([]string{"a"}), nil) {
		t.Error("an empty environment has near misses")
	}
}
