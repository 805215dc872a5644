//! The custom resources on the real API server: what it takes, what it refuses and in which words.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use testbed::{Bed, Object};

pub(crate) async fn definitions_apply_without_a_warning(bed: &Bed) -> anyhow::Result<()> {
    let crds = repository("crds");
    let args = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--warnings-as-errors",
        "-f",
    ];
    let output = bed.kubectl(&[&args[..], &[&crds.display().to_string()]].concat())?;
    let applied = output
        .lines()
        .filter(|line| line.ends_with("serverside-applied"))
        .count();
    assert_eq!(applied, 7, "{output}");
    Ok(())
}

pub(crate) async fn bad_values_are_refused_by_name(bed: &Bed) -> anyhow::Result<()> {
    let folder = repository("crates/crd-types/testdata/rejected");
    let mut refused = 0;
    for path in yaml_files(&folder)? {
        let yaml = fs::read_to_string(&path)?;
        let expected = yaml.lines().find_map(|line| line.strip_prefix("# expect: "));
        let expected = expected.with_context(|| format!("{} has no line \"# expect: …\"", path.display()))?;
        // This client validates nothing: what is refused here, the API server refused.
        let Err(error) = bed.apply(&yaml).await else {
            anyhow::bail!("{} was accepted", path.display())
        };
        let text = format!("{error:#}");
        assert!(
            text.contains(expected),
            "{} should be refused with {expected:?}: {text}",
            path.display()
        );
        refused += 1;
    }
    assert!(refused > 0, "looked at no object");
    println!("{refused} objects refused");
    Ok(())
}

pub(crate) async fn older_versions_are_listed_but_not_served(bed: &Bed) -> anyhow::Result<()> {
    for (plural, kind, group, old) in [
        ("servers", "Server", "metal.sidero.dev", "v1alpha1"),
        ("serverclasses", "ServerClass", "metal.sidero.dev", "v1alpha1"),
        (
            "metalmachines",
            "MetalMachine",
            "infrastructure.cluster.x-k8s.io",
            "v1alpha2",
        ),
    ] {
        let definition = format!("{plural}.{group}");
        let versions = bed.kubectl(&[
            "get",
            "crd",
            &definition,
            "-o",
            "jsonpath={.spec.versions[*].name}",
        ])?;
        assert!(
            versions.split(' ').any(|version| version == old),
            "{kind} lists {versions}"
        );
        let yaml = format!(
            "{{apiVersion: {group}/{old}, kind: {kind}, metadata: {{namespace: default, name: old}}}}"
        );
        let Err(error) = bed.apply(&yaml).await else {
            anyhow::bail!("{old} {kind} was accepted")
        };
        assert!(format!("{error:#}").contains("404"), "{error:#}");
    }
    Ok(())
}

pub(crate) async fn a_server_without_spec_is_not_accepted(bed: &Bed) -> anyhow::Result<()> {
    let api_version = "metal.sidero.dev/v1alpha2";
    bed.apply(&format!(
        "{{apiVersion: {api_version}, kind: Server, metadata: {{name: bare}}}}"
    ))
    .await?;
    let server = Object::cluster(api_version, "Server", "bare");
    let read = server
        .get(bed.client())
        .await?
        .context("the Server was just applied")?;
    assert_eq!(read.data["spec"]["accepted"], false);
    server.delete(bed.client()).await
}

pub(crate) async fn documented_samples_apply(bed: &Bed) -> anyhow::Result<()> {
    let files = yaml_files(&repository("config/samples"))?;
    assert!(!files.is_empty(), "looked at no sample");
    for path in &files {
        bed.kubectl(&["apply", "--warnings-as-errors", "-f", &path.display().to_string()])?;
    }
    let kinds = "server,serverclass,environment,metalcluster,metalmachine,metalmachinetemplate,serverbinding";
    let shown = bed.kubectl(&["get", kinds, "--all-namespaces"])?;
    for kind in kinds.split(',') {
        let of_kind = shown
            .lines()
            .filter(|line| line.contains(&format!("{kind}.")))
            .count();
        assert!(of_kind > 0, "no sample is a {kind}:\n{shown}");
    }
    for path in files.iter().rev() {
        bed.kubectl(&["delete", "--ignore-not-found", "-f", &path.display().to_string()])?;
    }
    Ok(())
}

pub(crate) async fn every_kind_explains_itself(bed: &Bed) -> anyhow::Result<()> {
    for (field, word) in [
        ("server.spec.bmc", "BMC"),
        ("server.spec.accepted", "accepted"),
        ("serverclass.spec.qualifiers", "hardware"),
        ("environment.spec.kernel", "kernel"),
        ("metalmachine.spec.serverClassRef", "ServerClass"),
        ("serverbinding.spec.metalMachineRef", "MetalMachine"),
    ] {
        let text = bed.kubectl(&["explain", field])?;
        assert!(
            text.contains(word) && !text.contains("<empty>"),
            "{field}:\n{text}"
        );
    }
    Ok(())
}

pub(crate) async fn templates_are_immutable_but_for_a_dry_run_of_cluster_class(
    bed: &Bed,
) -> anyhow::Result<()> {
    let template = |class: &str, annotation: &str| {
        format!(
            "{{apiVersion: infrastructure.cluster.x-k8s.io/v1alpha3, kind: MetalMachineTemplate, \
             metadata: {{namespace: default, name: fixed, annotations: {{{annotation}}}}}, \
             spec: {{template: {{spec: {{serverClassRef: \
             {{apiVersion: metal.sidero.dev/v1alpha2, kind: ServerClass, name: {class}}}}}}}}}}}"
        )
    };
    bed.apply(&template("one", "")).await?;
    // A policy takes effect a moment after it was written.
    let refused = async || {
        let error = bed.apply(&template("two", "")).await.err();
        Ok(error.filter(|error| format!("{error:#}").contains("MetalMachineTemplate.Spec is immutable")))
    };
    bed.wait_for(
        "a changed template is refused",
        std::time::Duration::from_secs(30),
        &[],
        refused,
    )
    .await?;
    bed.apply(&template("one", "a: b"))
        .await
        .context("metadata may change")?;
    let dry_run = template("two", "topology.cluster.x-k8s.io/dry-run: \"\"");
    let file = bed.run().folder().join("dry-run.yaml");
    fs::write(&file, dry_run)?;
    let args = [
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "-f",
    ];
    bed.kubectl(&[&args[..], &[&file.display().to_string()]].concat())?;
    let template = Object::namespaced(
        "infrastructure.cluster.x-k8s.io/v1alpha3",
        "MetalMachineTemplate",
        "default",
        "fixed",
    );
    template.delete(bed.client()).await
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<_> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}
