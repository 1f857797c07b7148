{{- define "worker.labels" -}}
app.kubernetes.io/name: invoicebox-worker
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "worker.metadata" -}}
name: {{ .Release.Name }}
labels:
  {{- include "worker.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .Release.Service }}
  helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "worker.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "worker.locked" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "worker.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "worker.pod" -}}
automountServiceAccountToken: false
# No variables named after Services: the worker reads INVOICEBOX_WORKER_… as settings.
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "worker.podSecurity" . | nindent 2 }}
containers:
  - name: worker
    image: {{ include "worker.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: [run, --config=/etc/invoicebox-worker/config.yaml]
    env:
      - {name: GOMEMLIMIT, value: {{ .Values.goMemoryLimit }}}
      {{- if eq .Values.journal.type "postgres" }}
      - {name: PGPASSFILE, value: /secrets/pgpass}
      {{- end }}
      {{- with .Values.otlpHeadersKey }}
      - name: OTEL_EXPORTER_OTLP_HEADERS
        valueFrom:
          secretKeyRef: {name: {{ $.Values.secretName }}, key: {{ . }}}
      {{- end }}
    securityContext:
      {{- include "worker.locked" . | nindent 6 }}
    ports:
      - {name: http, containerPort: 9464}
    livenessProbe:
      httpGet: {path: /livez, port: http}
      timeoutSeconds: 5 # it tries the journal for three seconds at most
      periodSeconds: 10
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: http}
      periodSeconds: 5
    resources: {{ toYaml .Values.resources | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /etc/invoicebox-worker, readOnly: true}
      - {name: secrets, mountPath: /secrets, readOnly: true}
      {{- if eq .Values.journal.type "sqlite" }}
      - {name: journal, mountPath: /var/lib/invoicebox-worker}
      {{- end }}
volumes:
  - name: config
    configMap: {name: {{ .Release.Name }}}
  # With fsGroup the files are root's and readable by the worker's group. The kubelet replaces them when the Secret changes, and the
  # worker reads them again.
  - name: secrets
    secret: {secretName: {{ .Values.secretName }}, defaultMode: 0440}
{{- end }}
