# One line of dpkg's log to one event, in the format of COPY: stream, event type, payload, metadata, occurred_at. The stream is the
# package, the correlation id the run of dpkg, the type what happened; who did what to what stands in the metadata, where it is searched.
function text(s) { gsub(/["\\]/, "", s); return "\"" s "\"" }
function event(stream, type, resource, what, payload) {
	printf "%s\t%s\t{%s}\t{\"actor\": \"dpkg\", \"action\": %s, \"resource\": %s, \"correlation_id\": \"run-%d\"}\t%s %s+00\n",
		stream, type, payload, text(what), text(resource), run, $1, $2
}
BEGIN {
	split("half-installed PackageInstallationBegun unpacked PackageUnpacked half-configured PackageConfigurationBegun installed PackageInstalled " \
		"config-files PackageRemoved not-installed PackagePurged triggers-pending PackageTriggersActivated triggers-awaited PackageTriggersAwaited", pairs, " ")
	for (i = 1; i in pairs; i += 2)
		status[pairs[i]] = pairs[i + 1]
	split("install PackageInstallRequested upgrade PackageUpgradeRequested configure PackageConfigurationRequested " \
		"remove PackageRemovalRequested purge PackagePurgeRequested trigproc PackageTriggersProcessed disappear PackageDisappeared", pairs2, " ")
	for (i = 1; i in pairs2; i += 2)
		action[pairs2[i]] = pairs2[i + 1]
}
$3 == "startup" { run++; event("dpkg-" (host != "" ? host : "host"), "DpkgStarted", host, $3, "\"for\": " text($4 " " $5)); next }
$3 == "status" && $4 in status { event("package-" $5, status[$4], $5, $4, "\"version\": " text($6)); next }
$3 in action { event("package-" $4, action[$3], $4, $3, "\"from\": " text($5) ", \"to\": " text($6)) }
